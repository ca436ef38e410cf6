//! The arguments that have a grammar of their own.

use std::str::FromStr;

use northstar_stats::Confidence;

/// How a metric is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Share of the rows with a yes.
    Proportion,
    /// Average of the rows.
    Mean,
    /// Sum of one column over the sum of another.
    Ratio,
}

/// `COLUMN[:proportion|mean|ratio]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The column, or `NUM/DEN` of a ratio.
    pub column: String,
    /// The estimator, if it was named.
    pub kind: Option<Kind>,
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A colon that no kind follows belongs to the name of the column.
        let known = text.rsplit_once(':').and_then(|(column, kind)| match kind {
            "proportion" => Some((column, Kind::Proportion)),
            "mean" => Some((column, Kind::Mean)),
            "ratio" => Some((column, Kind::Ratio)),
            _ => None,
        });
        let (column, kind) = known.map_or((text, None), |(column, kind)| (column, Some(kind)));
        if column.is_empty() {
            return Err("the name of the column is missing".to_owned());
        }
        if kind == Some(Kind::Ratio) && !column.contains('/') {
            return Err("a ratio needs two columns, as in clicks/impressions:ratio".to_owned());
        }
        Ok(Self { column: column.to_owned(), kind })
    }
}

/// Planned shares by variant, positive, summing to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights(pub Vec<(String, f64)>);

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(String, f64)> = Vec::new();
        let mut pending = String::new();
        for piece in text.split(',') {
            // A comma may belong to the name of a variant: a piece without '=' is the beginning of the next.
            pending.push_str(piece);
            let Some((name, share)) = pending.rsplit_once('=') else {
                pending.push(',');
                continue;
            };
            let name = name.trim().to_owned();
            let share: f64 = share
                .trim()
                .parse()
                .map_err(|_| format!("'{share}' of '{name}' is not a number"))?;
            if !(share > 0.0 && share.is_finite()) {
                return Err(format!("the weight of '{name}' must be greater than 0"));
            }
            if weights.iter().any(|(known, _)| *known == name) {
                return Err(format!("'{name}' has two weights"));
            }
            weights.push((name, share));
            pending.clear();
        }
        if !pending.is_empty() {
            return Err(format!(
                "'{}' has no weight; write name=share",
                pending.trim_end_matches(',')
            ));
        }
        let sum: f64 = weights.iter().map(|(_, share)| share).sum();
        // Thirds may be written as 0.33; a ratio such as 5:1:1 has no part below 1.
        let shares = (sum - 1.0).abs() < 0.010_1;
        let ratio = weights.iter().all(|(_, share)| *share >= 1.0);
        if !shares && !ratio {
            return Err(format!(
                "the weights sum to {sum}; shares must sum to 1, or be a ratio of numbers from 1"
            ));
        }
        weights.iter_mut().for_each(|(_, share)| *share /= sum);
        Ok(Self(weights))
    }
}

/// Parses a confidence level.
pub fn confidence(text: &str) -> Result<Confidence, String> {
    let level: f64 = text.parse().map_err(|_| format!("'{text}' is not a number"))?;
    Confidence::new(level).map_err(|error| error.to_string())
}

/// Parses a delimiter.
pub fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("one ASCII character other than a quote, or 'tab'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_a_column_and_perhaps_a_kind() {
        let metric = |text: &str| text.parse::<Metric>().expect("a metric");
        assert_eq!(metric("spend"), Metric { column: "spend".to_owned(), kind: None });
        assert_eq!(
            metric("spend:mean"),
            Metric { column: "spend".to_owned(), kind: Some(Kind::Mean) }
        );
        assert_eq!(metric("utm:source"), Metric { column: "utm:source".to_owned(), kind: None });
        assert_eq!(metric("a/b:ratio").kind, Some(Kind::Ratio));
        assert!("a:ratio".parse::<Metric>().is_err());
        assert!(":mean".parse::<Metric>().is_err());
    }

    #[test]
    fn weights_are_shares_or_a_ratio() {
        let weights = |text: &str| text.parse::<Weights>().map(|weights| weights.0);
        assert_eq!(weights("a=0.5,b=0.5"), Ok(vec![("a".to_owned(), 0.5), ("b".to_owned(), 0.5)]));
        assert_eq!(
            weights("Control=3, Civic Duty=1"),
            Ok(vec![("Control".to_owned(), 0.75), ("Civic Duty".to_owned(), 0.25)])
        );
        assert_eq!(weights("yes, please=1,x=y=1").expect("valid")[1].0, "x=y");
        let thirds = weights("a=0.33,b=0.33,c=0.33").expect("valid");
        assert!((thirds[0].1 - 1.0 / 3.0).abs() < 1e-12);
        for wrong in [
            "a=0.5,b=0.6",
            "a=1,b=0.5",
            "a",
            "a=x",
            "a=0,b=1",
            "a=0.5,a=0.5",
            "a=0.5,b",
            "a=inf,b=1",
        ] {
            assert!(weights(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_delimiter_is_one_character() {
        assert_eq!(delimiter("tab"), Ok(b'\t'));
        assert_eq!(delimiter("|"), Ok(b'|'));
        assert!(delimiter("||").is_err());
        assert!(delimiter("\"").is_err());
    }
}
