//! Blocking requests to object storage, each with retries and a limit of time (OS-1).

use std::error::Error as _;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::HttpError;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutOptions, PutPayload, RetryConfig};
use tokio::runtime::Runtime;
use url::Url;

use super::transport::Transport;
use crate::remote::RetryBackoff;

const BACKOFF: RetryBackoff = RetryBackoff::exponential(Duration::from_millis(100)).up_to(Duration::from_secs(5));

/// A part of object storage: what lies under a URL.
pub(crate) struct Bucket {
    url: String,
    under: String,
    store: Arc<dyn ObjectStore>,
    /// For requests of whichever thread waits for them. `None` once dropped.
    runtime: Option<Runtime>,
    limit: Duration,
    backoff: RetryBackoff,
}

/// What became of an object that was to be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    /// There is one of that name, perhaps by an earlier attempt whose answer was lost.
    Exists,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub(crate) struct BucketError {
    url: String,
    why: String,
}

impl Bucket {
    /// What lies under a URL that is a place. Makes no request. Each later one may take that long.
    pub(crate) fn open(url: &str, limit: Duration) -> Result<Self, BucketError> {
        let failed = |why: String| BucketError {
            url: url.to_owned(),
            why,
        };
        let parsed = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        let (scheme, under) = ObjectStoreScheme::parse(&parsed).map_err(|error| failed(error.to_string()))?;
        // Attempts are counted, bounded and explained here.
        let once = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        let store: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
            ObjectStoreScheme::AmazonS3 => AmazonS3Builder::from_env()
                .with_url(url)
                .with_retry(once)
                .with_http_connector(Transport)
                .build()
                .map(|store| Arc::new(store) as _),
            ObjectStoreScheme::GoogleCloudStorage => GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .with_retry(once)
                .with_http_connector(Transport)
                .build()
                .map(|store| Arc::new(store) as _),
            ObjectStoreScheme::MicrosoftAzure => MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .with_retry(once)
                .with_http_connector(Transport)
                .build()
                .map(|store| Arc::new(store) as _),
            _ => return Err(failed("it is no object storage".to_owned())),
        };
        let store = store.map_err(|error| failed(explained(&error)))?;
        Self::of(url, under.as_ref(), store, limit)
    }

    /// What lies in a store under a prefix.
    fn of(url: &str, under: &str, store: Arc<dyn ObjectStore>, limit: Duration) -> Result<Self, BucketError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| BucketError {
            url: url.to_owned(),
            why: format!("no runtime for its requests: {error}"),
        })?;
        Ok(Self {
            url: url.to_owned(),
            under: under.to_owned(),
            store,
            runtime: Some(runtime),
            limit,
            backoff: BACKOFF,
        })
    }

    /// One for tests of what is built on it.
    #[cfg(test)]
    pub(crate) fn of_store(store: Arc<dyn ObjectStore>, limit: Duration) -> Self {
        let mut bucket = Self::of("test://bucket", "under", store, limit).unwrap();
        bucket.backoff.initial = Duration::from_millis(1);
        bucket
    }

    /// The URL of an object, as it is shown.
    pub(crate) fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    fn path(&self, name: &str) -> object_store::Result<Path> {
        let path = if self.under.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.under)
        };
        Ok(Path::parse(path)?)
    }

    /// Puts an object of a new name. It is there whole, or not at all.
    pub(crate) fn create(&self, name: &str, bytes: &Bytes) -> Result<Put, BucketError> {
        let created = self.request(name, async || {
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from_bytes(bytes.clone());
            match self.store.put_opts(&self.path(name)?, payload, options).await {
                Ok(_) => Ok(Put::Created),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::Exists),
                Err(error) => Err(error),
            }
        });
        created?.ok_or_else(|| self.no_bucket())
    }

    /// An object's bytes; `None` if it is not there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Bytes>, BucketError> {
        self.request(name, async || self.store.get(&self.path(name)?).await?.bytes().await)
    }

    /// The names of all objects directly under a name.
    pub(crate) fn list(&self, under: &str) -> Result<Vec<String>, BucketError> {
        let found = self.request(under, async || {
            let found = self.store.list_with_delimiter(Some(&self.path(under)?)).await?;
            let names = found.objects.iter().filter_map(|object| object.location.filename());
            Ok(names.map(str::to_owned).collect())
        });
        // Storage without directories finds nothing there; only a bucket can be missing.
        found?.ok_or_else(|| self.no_bucket())
    }

    fn no_bucket(&self) -> BucketError {
        BucketError {
            url: self.url.clone(),
            why: "the bucket or container does not exist: create it first".to_owned(),
        }
    }

    /// Removes an object, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), BucketError> {
        let removed = self.request(name, async || self.store.delete(&self.path(name)?).await);
        removed.map(|_| ())
    }

    /// Makes attempts until one succeeds, fails for good, or the time is up. `None`: what was asked for is not there.
    fn request<T>(
        &self,
        name: &str,
        mut attempt: impl AsyncFnMut() -> object_store::Result<T>,
    ) -> Result<Option<T>, BucketError> {
        let failed = |why: String| BucketError {
            url: self.url_of(name),
            why,
        };
        let Some(runtime) = &self.runtime else {
            return Err(failed("its runtime has ended".to_owned()));
        };
        let begun = Instant::now();
        // One that is not answered leaves time for another.
        let each = self.limit / 2;
        runtime.block_on(async {
            let mut earlier = None;
            for tried in 1_u32.. {
                let left = self.limit.saturating_sub(begun.elapsed());
                let why = match tokio::time::timeout(each.min(left), attempt()).await {
                    Ok(Ok(value)) => return Ok(Some(value)),
                    Ok(Err(object_store::Error::NotFound { source, .. })) if !is_bucket_missing(&*source) => {
                        return Ok(None);
                    }
                    Ok(Err(error)) if !may_pass(&error) => return Err(failed(explained(&error))),
                    Ok(Err(error)) => explained(&error),
                    // What was left of the time says less than the attempts before.
                    Err(_elapsed) if left < each && earlier.is_some() => earlier.take().unwrap_or_default(),
                    Err(_elapsed) => format!("no answer within {:?}", each.min(left)),
                };
                let pause = self.backoff.delay(tried, chance(tried));
                if begun.elapsed() + pause >= self.limit {
                    return Err(failed(format!(
                        "{why}; tried {tried} times within {:?} (`checkpoint_storage_timeout_ms`)",
                        self.limit
                    )));
                }
                tracing::debug!(target: "ray_core::storage", url = self.url_of(name), %why, ?pause, "a request to object storage is made again");
                tokio::time::sleep(pause).await;
                earlier = Some(why);
            }
            Err(failed("too many attempts".to_owned()))
        })
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // A look-up of a name cannot be cancelled, and must not be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("url", &self.url)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Whether the same request may succeed later.
fn may_pass(error: &object_store::Error) -> bool {
    let object_store::Error::Generic { source, .. } = error else {
        return false;
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
    while let Some(error) = cause {
        if error.is::<HttpError>() {
            return true;
        }
        cause = error.source();
    }
    // What the server said is known by its text only. Other errors of the client than too many requests stay.
    let said = source.to_string();
    let blamed =
        said.contains("status code: 4") && !said.contains("status code: 408") && !said.contains("status code: 429");
    !blamed && said.contains("status code: ")
}

/// An object that is not there is no error; a bucket is.
fn is_bucket_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let said = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"]
        .iter()
        .any(|told| said.contains(told))
}

/// An error with its causes, each once.
fn explained(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

/// A number in 0..1 that differs between processes and attempts.
fn chance(tried: u32) -> f64 {
    let hash = std::hash::RandomState::new().hash_one(tried);
    f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
