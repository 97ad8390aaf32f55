//! From options to the parts of a call that all calls with the same options share.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{RayError, Result};
use crate::registry::{ActorMethod, ItemKey, Registry, RemoteItem};
use crate::remote::{FunctionBody, Isolation, MethodOptions, SchedulingStrategy, TaskOptions, UNLIMITED};
use crate::scheduling::Fixed;
use crate::wire::{self, LeaseShape};
use crate::worker::context;
use crate::worker::shape::Shape;
use crate::worker::task::{CallOptions, Template};

/// Templates of calls without options of their own, by the address of the item: such calls are the common case.
static DEFAULTS: Mutex<Option<HashMap<usize, Arc<Template>>>> = Mutex::new(None);

/// The template of a task.
pub(super) fn of_task(item: &'static RemoteItem, options: Option<&TaskOptions>) -> Result<Arc<Template>> {
    let defaults = || item.as_function().map(|function| function.defaults());
    if options.is_none() && context::capturing_group().is_none() {
        let key = std::ptr::from_ref(item).addr();
        let mut cache = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = cache.get_or_insert_default();
        if let Some(template) = cache.get(&key) {
            return Ok(template.clone());
        }
        let fallback = TaskOptions::default();
        let template = Arc::new(build(item, defaults().unwrap_or(&fallback))?);
        cache.insert(key, template.clone());
        return Ok(template);
    }
    let fallback = TaskOptions::default();
    let mut template = build(item, options.or_else(defaults).unwrap_or(&fallback))?;
    template.resources = Some(template.shape.resources.clone());
    Ok(Arc::new(template))
}

fn build(item: &'static RemoteItem, options: &TaskOptions) -> Result<Template> {
    let name = options.name.clone().unwrap_or_else(|| item.identity().name.to_owned());
    let invalid = |option: &str, why: String| RayError::InvalidOption {
        option: option.into(),
        name: name.clone(),
        why,
    };
    options
        .validate()
        .map_err(|error| invalid("of the call", error.to_string()))?;
    if options.isolation == Isolation::Shared {
        check_shared(&name, options)?;
    }
    let amounts = [("CPU", options.num_cpus), ("GPU", options.num_gpus)];
    let resources = steps(&amounts, options.memory, &options.resources).map_err(|why| invalid("resources", why))?;
    let shape = LeaseShape {
        resources,
        strategy: strategy(&options.scheduling_strategy),
        shared: options.isolation == Isolation::Shared,
        name: name.clone(),
    };
    let max_retries = limit(options.max_retries);
    let options = CallOptions {
        timeout: options.timeout,
        retry_exceptions: options.retry_exceptions,
        retry_backoff: options.retry_backoff,
        concurrency_group: None,
    };
    let body = item.as_function().map(|function| function.body);
    // Which GPUs a task was given, only the state knows.
    let needs_state = options.timeout.is_some() || shape.resources.contains_key("GPU");
    let can_be_local = shape.shared && matches!(body, Some(FunctionBody::Sync(_))) && !needs_state;
    Ok(Template {
        item,
        name: name.into(),
        shape: Shape::new(shape),
        resources: None,
        options,
        max_retries,
        runs_on_caller: matches!(body, Some(FunctionBody::Sync(_))),
        can_be_local,
    })
}

/// A limit as frames have it.
pub(super) fn limit(number: i32) -> i64 {
    if number == UNLIMITED { -1 } else { i64::from(number) }
}

/// Refuses what only a process of its own can give.
fn check_shared(name: &str, options: &TaskOptions) -> Result<()> {
    let refused = |option: &str| {
        Err(RayError::Unsupported {
            call: format!("`{name}` with isolation `shared`"),
            why: format!("`{option}` needs a process of its own: leave it away, or use isolation `process`"),
        })
    };
    if options.memory.is_some() {
        refused("memory")
    } else if options.max_calls > 0 {
        refused("max_calls")
    } else {
        Ok(())
    }
}

/// The template of calls of one method without options of their own.
pub(super) fn of_default_call(item: &'static RemoteItem, method: &'static ActorMethod) -> Result<Arc<Template>> {
    thread_local! {
        static KNOWN: RefCell<HashMap<usize, Arc<Template>>> = RefCell::default();
    }
    let key = std::ptr::from_ref(method).addr();
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).cloned()) {
        return Ok(known);
    }
    let options = method.defaults();
    let template = Arc::new(of_call(item, call_name(item, method, options), options)?);
    KNOWN.with_borrow_mut(|known| known.insert(key, template.clone()));
    Ok(template)
}

/// The name of a call that is shown to people.
pub(super) fn call_name(item: &RemoteItem, method: &ActorMethod, options: &MethodOptions) -> String {
    let given = options.name.clone();
    given.unwrap_or_else(|| format!("{}::{}", item.identity().name, method.name))
}

/// The template of the construction of an actor that lives in this process.
pub(super) fn of_construction(item: &'static RemoteItem) -> Result<Arc<Template>> {
    thread_local! {
        static KNOWN: RefCell<HashMap<usize, Arc<Template>>> = RefCell::default();
    }
    let key = std::ptr::from_ref(item).addr();
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).cloned()) {
        return Ok(known);
    }
    let name = format!("{}::new", item.identity().name);
    let template = Arc::new(of_call(item, name, &MethodOptions::default())?);
    KNOWN.with_borrow_mut(|known| known.insert(key, template.clone()));
    Ok(template)
}

/// The template of an actor call.
pub(super) fn of_call(item: &'static RemoteItem, name: String, options: &MethodOptions) -> Result<Template> {
    options.validate().map_err(|error| RayError::InvalidOption {
        option: "of the call".into(),
        name: name.clone(),
        why: error.to_string(),
    })?;
    let can_be_local = options.timeout.is_none() && options.name.is_none();
    let shape = LeaseShape {
        resources: BTreeMap::new(),
        strategy: wire::SchedulingStrategy::Default {},
        shared: false,
        name: name.clone(),
    };
    let options = CallOptions {
        timeout: options.timeout,
        retry_exceptions: options.retry_exceptions,
        retry_backoff: options.retry_backoff,
        concurrency_group: options.concurrency_group.clone(),
    };
    Ok(Template {
        item,
        name: name.into(),
        shape: Shape::new(shape),
        resources: None,
        options,
        max_retries: 0,
        runs_on_caller: false,
        can_be_local,
    })
}

/// What the attribute of a function names; nothing if this executable has no such function.
pub(super) fn resources_of_function(key: u64) -> BTreeMap<String, i64> {
    let item = Registry::global().and_then(|registry| registry.by_key(ItemKey(key)));
    let template = item.ok().and_then(|item| of_task(item, None).ok());
    template.map_or_else(BTreeMap::new, |template| template.shape.resources.clone())
}

/// Amounts in steps of 1/10000, without those that are zero.
pub(super) fn steps(
    amounts: &[(&str, f64)],
    memory: Option<u64>,
    custom: &BTreeMap<String, f64>,
) -> Result<BTreeMap<String, i64>, String> {
    let mut steps = BTreeMap::new();
    let named = amounts.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
    for (name, amount) in named.chain(custom.iter().map(|(name, amount)| (name.clone(), *amount))) {
        let amount = Fixed::from_f64(amount).map_err(|error| format!("{name}: {error}"))?;
        steps.insert(name, amount.steps());
    }
    if let Some(bytes) = memory {
        let amount = Fixed::bytes(bytes).map_err(|error| format!("memory: {error}"))?;
        steps.insert("memory".to_owned(), amount.steps());
    }
    steps.retain(|_, amount| *amount != 0);
    Ok(steps)
}

pub(super) fn strategy(strategy: &SchedulingStrategy) -> wire::SchedulingStrategy {
    match strategy {
        // The running task may capture what it starts.
        SchedulingStrategy::Default => match context::capturing_group() {
            Some(group) => wire::SchedulingStrategy::PlacementGroup {
                group,
                bundle: None,
                captures: true,
            },
            None => wire::SchedulingStrategy::Default {},
        },
        SchedulingStrategy::Spread => wire::SchedulingStrategy::Spread {},
        SchedulingStrategy::PlacementGroup {
            group,
            bundle,
            capture_child_tasks,
        } => wire::SchedulingStrategy::PlacementGroup {
            group: *group,
            bundle: *bundle,
            captures: *capture_child_tasks,
        },
        SchedulingStrategy::NodeAffinity { node, soft } => wire::SchedulingStrategy::NodeAffinity {
            node: *node,
            soft: *soft,
        },
    }
}
