//! A store in memory with the troubles of one that is far away.
#![allow(clippy::unwrap_used, reason = "this is all test code")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// How often what goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// The share of puts that succeed and are not answered.
    pub(crate) loses: f64,
    /// The share of requests that are not taken.
    pub(crate) refuses: f64,
    /// Whether requests take their time.
    pub(crate) lags: bool,
}

/// The store.
pub(crate) struct Unsteady {
    store: Arc<InMemory>,
    trouble: Trouble,
    requests: AtomicU64,
    chances: RandomState,
    loses_next: AtomicU32,
    contests_next: AtomicU32,
    before_put: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Unsteady {
    pub(crate) fn new(trouble: Trouble) -> Arc<Self> {
        Self::over(Arc::new(InMemory::new()), trouble)
    }

    pub(crate) fn over(store: Arc<InMemory>, trouble: Trouble) -> Arc<Self> {
        Arc::new(Self {
            store,
            trouble,
            requests: AtomicU64::default(),
            chances: RandomState::new(),
            loses_next: AtomicU32::default(),
            contests_next: AtomicU32::default(),
            before_put: Mutex::default(),
        })
    }

    /// The answers to the next puts are lost.
    pub(crate) fn lose_answers(&self, puts: u32) {
        self.loses_next.store(puts, Ordering::SeqCst);
    }

    /// The names of the next puts are told to be taken, and are not.
    pub(crate) fn contest(&self, puts: u32) {
        self.contests_next.store(puts, Ordering::SeqCst);
    }

    /// Does something on another thread before the next put.
    pub(crate) fn before_next_put(&self, does: impl FnOnce() + Send + 'static) {
        *self.before_put.lock().unwrap() = Some(Box::new(does));
    }

    /// Changes the last byte of an object.
    pub(crate) fn damage(&self, path: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let path = Path::parse(path).unwrap();
            let mut bytes = self.store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
            *bytes.last_mut().unwrap() ^= 0xff;
            self.store.put(&path, PutPayload::from(bytes)).await.unwrap();
        });
    }

    fn happens(&self, share: f64) -> bool {
        let hash = self.chances.hash_one(self.requests.fetch_add(1, Ordering::Relaxed));
        (hash >> 11) as f64 / ((1_u64 << 53) as f64) < share
    }

    async fn comes(&self) -> Result<()> {
        if self.trouble.lags && self.happens(0.5) {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        if self.happens(self.trouble.refuses) {
            return Err(trouble("the connection was refused"));
        }
        Ok(())
    }
}

/// An error that may pass.
fn trouble(what: &'static str) -> Error {
    let source = object_store::client::HttpError::new(
        object_store::client::HttpErrorKind::Connect,
        std::io::Error::other(what),
    );
    Error::Generic {
        store: "unsteady",
        source: Box::new(source),
    }
}

impl std::fmt::Debug for Unsteady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsteady")
    }
}

impl std::fmt::Display for Unsteady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsteady")
    }
}

#[async_trait]
impl ObjectStore for Unsteady {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.comes().await?;
        let before = self.before_put.lock().unwrap().take();
        if let Some(does) = before {
            std::thread::spawn(does).join().unwrap();
        }
        let left = |left: u32| left.checked_sub(1);
        let contested = self
            .contests_next
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        if contested.is_ok() {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "a conflicting operation is under way".into(),
            });
        }
        let put = self.store.put_opts(location, payload, options).await;
        let told_to = self.loses_next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        if told_to.is_ok() || self.happens(self.trouble.loses) {
            return Err(trouble("the answer was lost"));
        }
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.comes().await?;
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.comes().await?;
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
