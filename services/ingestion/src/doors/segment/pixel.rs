//! An event in the address of an image, for mails and pages that run no script:
//! `GET /v1/pixel/track?data=<base64 of the message>`, as Segment's pixel API has
//! it.
//!
//! <https://segment.com/docs/connections/sources/catalog/libraries/server/pixel-tracking-api/>

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::request::Parts;
use http::{HeaderMap, header};
use northstar_server::Caller;
use northstar_server::door::{Keys, Refusal};
use northstar_server::status::{Failure, invalid_field};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{Envelope, Kind, read};
use super::{check_size, key_within, parse, source};
use crate::arrivals::Undated;
use crate::doors::outcome_text;
use crate::sender::Sender;
use crate::service::Ingestion;

/// A transparent image of one pixel, GIF 89a.
const IMAGE: [u8; 43] = *b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\0\0\0!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
/// Header that says what became of the message; an image cannot.
const OUTCOME: &str = "northstar-outcome";

/// Either alphabet, with padding or without: mail programs rewrite addresses.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The message in the query.
#[derive(Default, Deserialize)]
pub(super) struct Pixel {
    data: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Pixel {
    type Rejection = Infallible;

    /// A query that cannot be read holds no message.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Query::try_from_uri(&parts.uri).map_or_else(|_| Self::default(), |Query(pixel)| pixel))
    }
}

impl Pixel {
    fn decode(&self) -> Option<Vec<u8>> {
        // A plus that nobody escaped arrives as a blank.
        let data = self.data.as_deref()?.replace(' ', "+");
        let alphabet = if data.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        GeneralPurpose::new(alphabet, LENIENT).decode(data.trim()).ok()
    }
}

/// `/v1/pixel/track` and its like.
pub(super) async fn pixel(
    ingestion: Ingestion,
    kind: Kind,
    caller: Option<Caller>,
    keys: Keys,
    headers: HeaderMap,
    pixel: Pixel,
) -> Result<Response, Refusal> {
    let data = pixel.decode();
    let caller = match caller {
        Some(caller) => caller,
        None => keys.caller(data.as_deref().and_then(key_within).as_deref()).await?,
    };
    let data =
        data.ok_or_else(|| invalid_field("data", "must be the message as JSON, in base64"))?;
    let raw: &RawValue = parse(&data)?;
    check_size(raw.get())?;
    let message = read(raw.get(), Some(kind), &Envelope::default());
    let source = source(&caller, &headers);
    let taken = ingestion.take_in(
        Sender::from(&caller),
        source,
        Undated::AtReceipt,
        std::iter::once(message),
    );
    let results = taken.await.map_err(Failure::from)?;
    let outcome = results.first().map_or("", |result| outcome_text(result.outcome()));
    let told = [
        (header::CONTENT_TYPE.as_str(), "image/gif"),
        // Each time it is looked at is an event.
        (header::CACHE_CONTROL.as_str(), "no-store"),
        (OUTCOME, outcome),
    ];
    Ok((told, IMAGE).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_however_its_address_was_rewritten() {
        let decode = |data: &str| Pixel { data: Some(data.to_owned()) }.decode();
        let message = b"{\"e\":\"\xc3\xbf?>\"}".to_vec();
        for data in ["eyJlIjoiw78/PiJ9", "eyJlIjoiw78_PiJ9", "eyJlIjoiw78/PiJ9  "] {
            assert_eq!(decode(data.trim_end()), Some(message.clone()), "{data}");
        }
        assert_eq!(decode("e30="), Some(b"{}".to_vec()));
        assert_eq!(decode("e30"), Some(b"{}".to_vec()));
        assert_eq!(decode("Pj4 Pj4"), decode("Pj4+Pj4"));
        assert_eq!(decode("%%"), None);
        assert_eq!(Pixel::default().decode(), None);
    }
}
