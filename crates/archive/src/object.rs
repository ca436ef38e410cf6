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
        let location = self.url(name)?;
        put(&location, content).await?;
        Ok(location.into())
    }

    /// Stores a file as [`Archive::put`] does, in the folder of another, and
    /// returns its URL.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put_beside(other: &str, name: &str, content: Bytes) -> Result<String, Error> {
        let location = parse(other)?
            .join(name)
            .map_err(|error| Error::Shape(format!("{name:?} is no file name: {error}")))?;
        put(&location, content).await?;
        Ok(location.into())
    }

    /// Deletes a file by its URL. One that is not there is as good as deleted.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub async fn delete(location: &str) -> Result<(), Error> {
        let location = parse(location)?;
        match store(&location)?.delete(&path(&location)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a file of this place by its name; `None` when there is none.
    ///
    /// # Errors
    /// When the place cannot be reached.
    pub async fn find(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let location = self.url(name)?;
        match store(&location)?.get(&path(&location)?).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The files that lie here, by name, with their sizes in bytes; not those in
    /// folders below.
    ///
    /// # Errors
    /// When the place cannot be reached.
    pub async fn sizes(&self) -> Result<Vec<(String, u64)>, Error> {
        let folder = path(&self.base)?;
        let found = store(&self.base)?.list_with_delimiter(Some(&folder)).await?;
        let mut sizes: Vec<(String, u64)> = found
            .objects
            .into_iter()
            .filter_map(|file| Some((file.location.filename()?.to_owned(), file.size)))
            .collect();
        sizes.sort();
        Ok(sizes)
    }

    /// The URL of a file of this place.
    ///
    /// # Errors
    /// When the name is none.
    pub fn location(&self, name: &str) -> Result<String, Error> {
        Ok(self.url(name)?.into())
    }

    fn url(&self, name: &str) -> Result<Url, Error> {
        self.base
            .join(name)
            .map_err(|error| Error::Shape(format!("{name:?} is no file name: {error}")))
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

async fn put(location: &Url, content: Bytes) -> Result<(), Error> {
    store(location)?.put(&path(location)?, content.into()).await?;
    Ok(())
}

fn store(location: &Url) -> Result<Box<dyn ObjectStore>, Error> {
    let Some(bucket) = location.host_str() else {
        return Ok(Box::new(LocalFileSystem::new().with_fsync(true)));
    };
    // Fails when the process has a provider of cryptography already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Deleting many at once is a request that not everybody who speaks the protocol knows.
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    Ok(Box::new(builder.with_disable_bulk_delete(true).build()?))
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
