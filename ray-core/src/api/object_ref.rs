//! References to objects and actors: what counts them, and how they travel.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{RayError, Result};
use crate::ids::{ActorId, ObjectId, WorkerId};
use crate::registry::RemoteItem;
use crate::value::RefToken;
use crate::value::refs::{deserialize_ref, serialize_ref};
use crate::worker::context::{self, Awaiting};
use crate::worker::execute::ExclusiveWait;
use crate::worker::local::LocalTask;
use crate::worker::resolve::Target;
use crate::worker::state::{LocalActor, Out, State};
use crate::worker::waiter::Waiter;
use crate::worker::{Worker, current};

pub use crate::api::stream::{ObjectRefStream, RawStream};

/// A counted reference without its type.
#[derive(Debug)]
pub struct RawRef(Kind);

#[derive(Debug)]
enum Kind {
    Counted {
        object: ObjectId,
        owner: WorkerId,
        session: Weak<Worker>,
    },
    /// Submission failed: whoever looks at the reference gets this error.
    /// The result of a local task.
    Local(Arc<LocalTask>),
    Failed(Box<RayError>),
}

impl RawRef {
    /// The reference that comes with a new local task.
    pub(crate) fn of_local(task: Arc<LocalTask>) -> Self {
        Self(Kind::Local(task))
    }

    /// The local task that it is the result of, as long as the state knows nothing of it.
    pub(crate) fn local(&self) -> Option<&Arc<LocalTask>> {
        match &self.0 {
            Kind::Local(task) if !task.is_handed_in() => Some(task),
            _ => None,
        }
    }

    /// The runtime of its session.
    pub(crate) fn session(&self) -> Result<Arc<Worker>> {
        match &self.0 {
            Kind::Counted { session, .. } => session.upgrade().ok_or(RayError::SessionEnded {}),
            Kind::Local(task) => task.session(),
            Kind::Failed(error) => Err((**error).clone()),
        }
    }

    /// What to wait for, and whether it still can come.
    pub(crate) fn awaited(&self) -> Result<Target> {
        match self.local() {
            Some(task) if task.is_of_session() => Ok(Target::Local(task.clone())),
            _ => self.target().map(|(object, owner, _)| Target::Known(object, owner)),
        }
    }

    /// Takes over one handle that the state counts already.
    pub(crate) fn counted(worker: &Arc<Worker>, object: ObjectId, owner: WorkerId) -> Self {
        Self(Kind::Counted {
            object,
            owner,
            session: Arc::downgrade(worker),
        })
    }

    /// A reference that is an error.
    pub(crate) fn failed(error: RayError) -> Self {
        Self(Kind::Failed(Box::new(error)))
    }

    /// The object, its owner, and the session that counts it.
    pub(crate) fn target(&self) -> Result<(ObjectId, WorkerId, Arc<Worker>)> {
        match &self.0 {
            Kind::Counted { object, owner, session } => {
                let worker = session.upgrade().ok_or(RayError::SessionEnded {})?;
                Ok((*object, *owner, worker))
            }
            Kind::Local(task) => {
                let worker = task.session()?;
                task.hand_in(&worker);
                Ok((task.object(), worker.identity.worker, worker))
            }
            Kind::Failed(error) => Err((**error).clone()),
        }
    }

    /// The object; the nil id if submission failed.
    pub fn id(&self) -> ObjectId {
        match &self.0 {
            Kind::Counted { object, .. } => *object,
            Kind::Local(task) => task.object(),
            Kind::Failed(_) => ObjectId::default(),
        }
    }

    /// The hold of this handle has ended already.
    pub(crate) fn spent(mut self) {
        self.0 = Kind::Counted {
            object: self.id(),
            owner: WorkerId::default(),
            session: Weak::new(),
        };
    }

    /// Ends the hold of this handle under the lock of its session's state, if that is `worker`'s; else it ends as the handle drops.
    pub(crate) fn end_within(self, worker: &Arc<Worker>, state: &mut State, out: &mut Out) -> Option<Self> {
        match &self.0 {
            Kind::Counted { object, session, .. } if std::ptr::eq(session.as_ptr(), Arc::as_ptr(worker)) => {
                state.drop_handle(*object, out);
                self.spent();
                None
            }
            Kind::Local(task) if task.is_of(worker) && task.is_handed_in() => {
                if task.drop_handle() {
                    state.drop_handle(task.object(), out);
                }
                out.garbage.push(Box::new(task.clone()));
                self.spent();
                None
            }
            _ => Some(self),
        }
    }

    /// Whether the submission failed: there is an error and no object.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.0, Kind::Failed(_))
    }

    fn token(&self) -> Result<RefToken> {
        let (object, owner, _) = self.target()?;
        Ok(RefToken::object(object, owner))
    }

    /// A reference to what a value that was read refers to.
    pub(crate) fn adopt(token: &RefToken) -> Result<Self> {
        let worker = current()?;
        worker.with(|state, _, _| state.adopt(token.object));
        Ok(Self::counted(&worker, token.object, token.owner))
    }
}

impl Clone for RawRef {
    fn clone(&self) -> Self {
        match &self.0 {
            Kind::Counted { object, owner, session } => {
                if let Some(worker) = session.upgrade() {
                    worker.with(|state, _, _| state.adopt(*object));
                }
                Self(Kind::Counted {
                    object: *object,
                    owner: *owner,
                    session: session.clone(),
                })
            }
            Kind::Local(task) => {
                task.add_handle();
                Self(Kind::Local(task.clone()))
            }
            Kind::Failed(error) => Self(Kind::Failed(error.clone())),
        }
    }
}

impl Drop for RawRef {
    fn drop(&mut self) {
        match &self.0 {
            Kind::Counted { object, session, .. } => {
                if let Some(worker) = session.upgrade() {
                    worker.with(|state, _, out| state.drop_handle(*object, out));
                }
            }
            Kind::Local(task) => {
                if task.drop_handle()
                    && let Ok(worker) = task.session()
                {
                    worker.with(|state, _, out| state.drop_handle(task.object(), out));
                }
            }
            Kind::Failed(_) => {}
        }
    }
}

/// A reference to an object of type `T`, which may not exist yet: the result of a task, or a value that was `put`.
///
/// It is counted: the object is freed when its last reference, in whatever process, drops. It can be awaited, given to
/// [`get`](crate::get), passed to tasks and actors as an argument, and stored inside values that are.
///
/// ```
/// # #[ray_core::remote] fn add(a: i64, b: i64) -> i64 { a + b }
/// # fn main() -> ray_core::Result<()> {
/// let _ray = ray_core::init()?;
/// let three = add::remote(1, 2);
/// let seven = add::remote(&three, 4);
/// assert_eq!(ray_core::get(&seven)?, 7);
/// # Ok(()) }
/// ```
pub struct ObjectRef<T> {
    raw: RawRef,
    object: PhantomData<fn() -> T>,
}

impl<T> ObjectRef<T> {
    /// Gives a reference its type.
    pub fn from_raw(raw: RawRef) -> Self {
        Self {
            raw,
            object: PhantomData,
        }
    }

    /// The reference without its type.
    pub fn raw(&self) -> &RawRef {
        &self.raw
    }

    /// The reference without its type.
    pub fn into_raw(self) -> RawRef {
        self.raw
    }

    /// The object's id; the nil id if the submission failed.
    pub fn id(&self) -> ObjectId {
        self.raw.id()
    }
}

impl<T> Clone for ObjectRef<T> {
    fn clone(&self) -> Self {
        Self::from_raw(self.raw.clone())
    }
}

impl<T> fmt::Debug for ObjectRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef<{}>({})", std::any::type_name::<T>(), self.raw.id())
    }
}

impl<T> Serialize for ObjectRef<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_ref(self.raw.token().map_err(S::Error::custom)?, serializer)
    }
}

impl<'de, T> Deserialize<'de> for ObjectRef<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token = deserialize_ref(deserializer)?;
        RawRef::adopt(&token).map(Self::from_raw).map_err(D::Error::custom)
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for ObjectRef<T> {
    type Output = Result<T>;
    type IntoFuture = ObjectFuture<T>;

    fn into_future(self) -> ObjectFuture<T> {
        ObjectFuture {
            reference: self,
            waiter: None,
            awaiting: None,
            noted: None,
        }
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for &ObjectRef<T> {
    type Output = Result<T>;
    type IntoFuture = ObjectFuture<T>;

    fn into_future(self) -> ObjectFuture<T> {
        self.clone().into_future()
    }
}

/// Waits for an object. On whatever runtime: it needs none.
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct ObjectFuture<T> {
    reference: ObjectRef<T>,
    waiter: Option<Arc<Waiter>>,
    awaiting: Option<Awaiting>,
    noted: Option<ExclusiveWait>,
}

impl<T: DeserializeOwned + 'static> Future for ObjectFuture<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let raw = &self.reference.raw;
        let (target, worker) = match raw.awaited().and_then(|target| Ok((target, raw.session()?))) {
            Ok(found) => found,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let targets = [target];
        if self.waiter.is_none() {
            match worker.check_deadlock(&targets) {
                Ok(noted) => self.noted = noted,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let waiter = self.waiter.get_or_insert_with(|| worker.waiter(&targets, 1));
        if !waiter.register(cx.waker()) {
            // Nobody blocks here: the reactor sees what comes.
            worker.rings.listen();
            if self.awaiting.is_none() {
                self.awaiting = context::await_others();
            }
            return Poll::Pending;
        }
        (self.awaiting, self.noted) = (None, None);
        match crate::api::get::last_value(&self.reference, &worker) {
            Some((value, moved)) => {
                if moved {
                    let spent = ObjectRef::from_raw(RawRef::failed(RayError::SessionEnded {}));
                    std::mem::replace(&mut self.reference, spent).into_raw().spent();
                }
                Poll::Ready(value)
            }
            None => {
                // It was ready and is being made again: it was lost meanwhile.
                self.waiter = None;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// An actor's handle without its type. All handles together are one counted reference, owned by the creator: when the last
/// one drops, the actor ends.
#[derive(Debug, Clone)]
pub struct RawActorHandle {
    pub(crate) actor: ActorId,
    /// Local calls hold it too.
    pub(crate) handle: Arc<RawRef>,
    pub(crate) type_name: Arc<str>,
    /// It lives in the process of its creator, which alone knows it.
    pub(crate) hosted: bool,
    /// In that process: its type.
    pub(crate) item: Option<&'static RemoteItem>,
    /// In that process: the actor, as long as it lives.
    pub(crate) local: Weak<LocalActor>,
}

impl RawActorHandle {
    /// The actor's id.
    pub fn id(&self) -> ActorId {
        self.actor
    }
}

impl Serialize for RawActorHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = ObjectRef::<()>::from_raw((*self.handle).clone());
        (self.actor, handle, &*self.type_name, self.hosted).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawActorHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (actor, handle, type_name, hosted) = <(ActorId, ObjectRef<()>, String, bool)>::deserialize(deserializer)?;
        let handle = handle.into_raw();
        if let Ok((object, owner, worker)) = handle.target() {
            worker.with(|state, _, out| {
                if hosted {
                    state.know_hosted_actor(actor, &type_name, (object, owner));
                } else {
                    state.know_actor(actor, &type_name, (object, owner), out);
                }
            });
        }
        Ok(Self {
            actor,
            handle: Arc::new(handle),
            type_name: type_name.into(),
            hosted,
            item: None,
            local: Weak::new(),
        })
    }
}
