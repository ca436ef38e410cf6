//! The bytes of a file: counted as they come off the disk, decompressed, without a byte-order mark.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{OpenError, Progress, ProgressCallback};

const BUFFER_BYTES: usize = 128 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// How far the file has been read: one end counts, the other asks, and a callback is told.
pub(super) struct Meter {
    read: AtomicU64,
    total: u64,
    on_progress: Mutex<Option<ProgressCallback>>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), formatter)
    }
}

impl Meter {
    pub(super) fn get(&self) -> Progress {
        Progress { bytes_read: self.read.load(Ordering::Relaxed), bytes_total: self.total }
    }

    /// Sets the position and tells it.
    pub(super) fn set(&self, bytes_read: u64) {
        self.read.store(bytes_read, Ordering::Relaxed);
        // A callback that panicked is not called again.
        if let Ok(mut on_progress) = self.on_progress.lock()
            && let Some(report) = on_progress.as_mut()
        {
            report(self.get());
        }
    }
}

/// A file that counts what is read of it.
struct Counting {
    file: File,
    meter: Arc<Meter>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.meter.set(self.meter.get().bytes_read + read as u64);
        Ok(read)
    }
}

/// The decompressed bytes of a file.
pub(super) struct Source {
    path: PathBuf,
    meter: Arc<Meter>,
    bytes: Box<dyn BufRead + Send>,
    compressed: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn open(
        path: &Path,
        on_progress: Option<ProgressCallback>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a folder, not a file",
            )));
        }
        let meter = Arc::new(Meter {
            read: AtomicU64::new(0),
            total: metadata.len(),
            on_progress: Mutex::new(on_progress),
        });
        let counting = Counting { file, meter: Arc::clone(&meter) };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, counting);
        let head = raw.fill_buf().map_err(failed)?;
        let (gzip, zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
        let mut bytes: Box<dyn BufRead + Send> = if gzip {
            // Several members in a row are one file: that is how `cat a.gz b.gz` and log rotation write.
            let decoder = flate2::bufread::MultiGzDecoder::new(raw);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        } else if zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(failed)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        } else {
            Box::new(raw)
        };
        if bytes.fill_buf().map_err(failed)?.starts_with(UTF8_MARK) {
            bytes.consume(UTF8_MARK.len());
        }
        Ok(Self { path: path.to_owned(), meter, bytes, compressed: gzip || zstd })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// The next bytes without taking them; empty at the end of the file.
    pub(super) fn peek(&mut self) -> Result<&[u8], OpenError> {
        let path = &self.path;
        self.bytes.fill_buf().map_err(|source| OpenError::Read { path: path.clone(), source })
    }

    pub(super) fn into_bytes(self) -> Box<dyn BufRead + Send> {
        self.bytes
    }

    /// A file that can be read at any place: itself, or a nameless temporary copy if it is compressed.
    pub(super) fn into_seekable(mut self) -> Result<File, OpenError> {
        let path = self.path;
        let failed = |source| OpenError::Read { path: path.clone(), source };
        if !self.compressed {
            return File::open(&path).map_err(failed);
        }
        let mut copy = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut self.bytes, &mut copy).map_err(failed)?;
        copy.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(copy)
    }
}
