//! Where archived files lie.

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use crate::Error;

/// A place that holds whole files under names. This build knows folders
/// (`file:///var/lib/northstar/archive`), which may be a mounted bucket.
#[derive(Clone, Debug)]
pub struct Archive {
    base: Url,
}

impl Archive {
    /// Opens a place.
    ///
    /// # Errors
    /// When the URL is none that this build knows.
    pub fn open(url: &str) -> Result<Self, Error> {
        let mut base = parse(url)?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { base })
    }

    /// Stores a file, whole and durable or not at all, and returns its URL. A file
    /// of the same name is replaced.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put(&self, name: &str, content: Bytes) -> Result<String, Error> {
        let location = self
            .base
            .join(name)
            .map_err(|error| Error::Shape(format!("{name:?} is no file name: {error}")))?;
        store().put(&path(&location)?, content.into()).await?;
        Ok(location.into())
    }

    /// Reads a file by the URL that [`Archive::put`] gave.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn get(location: &str) -> Result<Bytes, Error> {
        let location = parse(location)?;
        Ok(store().get(&path(&location)?).await?.bytes().await?)
    }
}

fn store() -> LocalFileSystem {
    LocalFileSystem::new().with_fsync(true)
}

fn parse(url: &str) -> Result<Url, Error> {
    let parsed: Url =
        url.parse().map_err(|error| Error::Shape(format!("{url:?} is no URL: {error}")))?;
    if parsed.scheme() == "file" && parsed.host_str().is_none() {
        return Ok(parsed);
    }
    Err(Error::Shape(format!(
        "{url:?} is no place for an archive; write the URL of a folder, for example \
         file:///var/lib/northstar/archive"
    )))
}

fn path(location: &Url) -> Result<Path, Error> {
    Path::from_url_path(location.path())
        .map_err(|error| Error::Shape(format!("{location}: {error}")))
}
