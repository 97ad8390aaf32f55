//! Which URLs are places.

use object_store::ObjectStoreScheme;
use url::Url;

use super::{Location, LocationError};

/// Reads a URL. What is in a file system is a directory, so that it has the same locks by path and by URL.
pub(super) fn location(text: &str) -> Result<Location, LocationError> {
    let refused = |why: &str| Err(LocationError::Url(why.to_owned()));
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refused(&format!("it is no URL: {error}")),
    };
    if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return refused("it has a password, a query or a fragment: credentials come from the environment, not the URL");
    }
    match scheme(&url)? {
        ObjectStoreScheme::Local => match url.to_file_path() {
            Ok(path) => Ok(Location::Directory(path)),
            Err(()) => refused("it names no directory of this machine: write `file:///path`"),
        },
        ObjectStoreScheme::Memory => refused("what is kept in one process's memory is gone with it"),
        ObjectStoreScheme::Http => refused(
            "a web server is no object storage: for one of your own that speaks S3, write `s3://bucket/path` and set AWS_ENDPOINT_URL",
        ),
        _ => Ok(Location::Url(text.trim_end_matches('/').to_owned())),
    }
}

/// The kind of storage of a URL.
pub(super) fn scheme(url: &Url) -> Result<ObjectStoreScheme, LocationError> {
    match ObjectStoreScheme::parse(url) {
        Ok((scheme, _)) => Ok(scheme),
        Err(error) => Err(LocationError::Url(format!(
            "{error}; URLs begin with s3://, gs://, az://, abfss:// or file:///"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_three_clouds_and_of_directories_are_places() {
        for url in [
            "s3://bucket/a/b",
            "s3a://bucket",
            "gs://bucket/a",
            "az://container/a",
            "abfss://container@account.dfs.core.windows.net/a",
        ] {
            assert_eq!(location(&format!("{url}/")).unwrap(), Location::Url(url.to_owned()));
        }
        let directory = location("file:///data/my%20states").unwrap();
        assert_eq!(directory, Location::Directory("/data/my states".into()));
    }

    #[test]
    fn what_cannot_be_a_place_is_refused_with_the_reason() {
        for (url, said) in [
            ("memory:///a", "gone with it"),
            ("https://example.com/a", "AWS_ENDPOINT_URL"),
            ("s3://id:secret@bucket/a", "environment"),
            ("s3://bucket/a?sig=secret", "environment"),
            ("ftp://host/a", "s3://"),
            ("file://elsewhere/a", "file:///"),
            ("://", "no URL"),
        ] {
            let error = location(url).unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
