//! Takes a compressed body apart piece by piece, never beyond its limit.

use std::io::{self, Write};

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use zstd::stream::write::Decoder as ZstdDecoder;

use super::room::Share;

/// How a body is compressed, by its `content-encoding`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Encoding {
    /// The names to offer whoever used another.
    pub(super) const KNOWN: &'static str = "gzip, deflate, zstd";

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Some(Self::Identity),
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why bytes were not taken.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// More bytes came out than may.
    TooLarge,
    /// The process has no room for more.
    NoRoom,
    /// They are not what their encoding says.
    Malformed,
}

/// What came out so far, bounded while it grows: one piece may hold a thousand
/// times its size.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    share: Share,
    stop: Option<Stop>,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + piece.len();
        if length > self.limit {
            self.stop = Some(Stop::TooLarge);
        } else if !self.share.hold(length) {
            self.stop = Some(Stop::NoRoom);
        }
        if self.stop.is_some() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body on its way out of its encoding.
pub(super) struct Decoding(Inner);

enum Inner {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Deflate(Box<ZlibDecoder<Bounded>>),
    Zstd(Box<ZstdDecoder<'static, Bounded>>),
}

impl Decoding {
    pub(super) fn new(encoding: Encoding, limit: usize, share: Share) -> Result<Self, Stop> {
        let out = Bounded { bytes: Vec::new(), limit, share, stop: None };
        Ok(Self(match encoding {
            Encoding::Identity => Inner::Identity(out),
            Encoding::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(out))),
            Encoding::Deflate => Inner::Deflate(Box::new(ZlibDecoder::new(out))),
            Encoding::Zstd => {
                let mut decoder = ZstdDecoder::new(out).map_err(|_| Stop::NoRoom)?;
                // A window of 8 MiB is what every decoder must take, and all
                // that one gets here.
                decoder
                    .set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(23))
                    .map_err(|_| Stop::NoRoom)?;
                Inner::Zstd(Box::new(decoder))
            }
        }))
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Stop> {
        let taken = match &mut self.0 {
            Inner::Identity(out) => out.write_all(piece),
            Inner::Gzip(decoder) => decoder.write_all(piece),
            Inner::Deflate(decoder) => decoder.write_all(piece),
            Inner::Zstd(decoder) => decoder.write_all(piece),
        };
        taken.map_err(|_| self.stop())
    }

    /// The whole body and the room it takes, once every piece was taken.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Share), Stop> {
        let finished = match &mut self.0 {
            Inner::Identity(_) => Ok(()),
            Inner::Gzip(decoder) => decoder.try_finish(),
            Inner::Deflate(decoder) => decoder.try_finish(),
            Inner::Zstd(decoder) => decoder.flush(),
        };
        finished.map_err(|_| self.stop())?;
        let out = match self.0 {
            Inner::Identity(out) => out,
            Inner::Gzip(decoder) => decoder.finish().map_err(|_| Stop::Malformed)?,
            Inner::Deflate(decoder) => decoder.finish().map_err(|_| Stop::Malformed)?,
            Inner::Zstd(decoder) => decoder.into_inner(),
        };
        Ok((out.bytes, out.share))
    }

    fn stop(&mut self) -> Stop {
        let out = match &mut self.0 {
            Inner::Identity(out) => out,
            Inner::Gzip(decoder) => decoder.get_mut(),
            Inner::Deflate(decoder) => decoder.get_mut(),
            Inner::Zstd(decoder) => decoder.get_mut(),
        };
        out.stop.take().unwrap_or(Stop::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::door::room::{Room, Sender};

    const TEXT: &[u8] =
        b"a body that is long enough to be worth compressing, compressing, compressing";

    fn compressed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Identity => return bytes.to_vec(),
            Encoding::Gzip => flate2::bufread::GzEncoder::new(bytes, flate2::Compression::best())
                .read_to_end(&mut out)
                .unwrap(),
            Encoding::Deflate => {
                flate2::bufread::ZlibEncoder::new(bytes, flate2::Compression::best())
                    .read_to_end(&mut out)
                    .unwrap()
            }
            Encoding::Zstd => return zstd::encode_all(bytes, 3).unwrap(),
        };
        out
    }

    fn decode(
        encoding: Encoding,
        bytes: &[u8],
        piece: usize,
        limit: usize,
    ) -> Result<Vec<u8>, Stop> {
        let mut decoding =
            Decoding::new(encoding, limit, Room::of_mebibytes(2).share(Sender::Caller))?;
        for piece in bytes.chunks(piece) {
            decoding.take(piece)?;
        }
        decoding.finish().map(|(bytes, _)| bytes)
    }

    const ALL: [Encoding; 4] =
        [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];

    #[test]
    fn a_body_comes_out_whole_however_it_is_cut() {
        for encoding in ALL {
            let bytes = compressed(encoding, TEXT);
            for piece in [1, 7, 10_000] {
                let decoded = decode(encoding, &bytes, piece, TEXT.len());
                assert_eq!(decoded.as_deref(), Ok(TEXT), "{encoding:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn no_body_comes_out_beyond_its_limit() {
        for encoding in ALL {
            let bytes = compressed(encoding, &vec![0; 500_000]);
            let decoded = decode(encoding, &bytes, 10_000, 499_999);
            assert_eq!(decoded, Err(Stop::TooLarge), "{encoding:?}");
            let bytes = compressed(encoding, &vec![0; 1_700_000]);
            let decoded = decode(encoding, &bytes, 10_000, 2_000_000);
            assert_eq!(decoded, Err(Stop::NoRoom), "{encoding:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_short_or_forged_is_malformed() {
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
            let bytes = compressed(encoding, TEXT);
            let short = decode(encoding, &bytes[..bytes.len() - 9], 10, 10_000);
            assert!(short != Ok(TEXT.to_vec()), "{encoding:?}");
            assert_eq!(decode(encoding, TEXT, 10, 10_000), Err(Stop::Malformed), "{encoding:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_bytes_come_are_taken_or_refused(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            piece in 1_usize..400,
        ) {
            for encoding in ALL {
                let _ = decode(encoding, &bytes, piece, 10_000);
            }
        }
    }
}
