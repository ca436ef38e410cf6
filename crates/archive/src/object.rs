//! Where archived files lie.

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::Error;

/// A place that holds whole files under names: a folder
/// (`file:///var/lib/northstar/archive`), or a bucket of S3 or of what speaks its
/// protocol (`s3://bucket/folder`). The credentials, the region and the address of a
/// bucket are those of the environment, under the names that Amazon gave them:
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`,
/// and `AWS_ALLOW_HTTP` for an address without TLS.
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
        store(&base)?;
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
        store(&location)?.put(&path(&location)?, content.into()).await?;
        Ok(location.into())
    }

    /// Reads a file by the URL that [`Archive::put`] gave.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn get(location: &str) -> Result<Bytes, Error> {
        let location = parse(location)?;
        Ok(store(&location)?.get(&path(&location)?).await?.bytes().await?)
    }
}

fn store(location: &Url) -> Result<Box<dyn ObjectStore>, Error> {
    let Some(bucket) = location.host_str() else {
        return Ok(Box::new(LocalFileSystem::new().with_fsync(true)));
    };
    // Fails when the process has a provider of cryptography already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Box::new(AmazonS3Builder::from_env().with_bucket_name(bucket).build()?))
}

fn parse(url: &str) -> Result<Url, Error> {
    let parsed: Url =
        url.parse().map_err(|error| Error::Shape(format!("{url:?} is no URL: {error}")))?;
    match (parsed.scheme(), parsed.host_str()) {
        ("file", None) => Ok(parsed),
        ("s3", Some(bucket)) if !bucket.is_empty() => Ok(parsed),
        _ => Err(Error::Shape(format!(
            "{url:?} is no place for an archive; write the URL of a folder or of a bucket, for \
             example file:///var/lib/northstar/archive or s3://northstar-archive/log"
        ))),
    }
}

fn path(location: &Url) -> Result<Path, Error> {
    Path::from_url_path(location.path())
        .map_err(|error| Error::Shape(format!("{location}: {error}")))
}
