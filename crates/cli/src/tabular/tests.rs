//! The reader on small files of every format, sound and broken.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ::parquet::arrow::ArrowWriter;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("a writable folder");
        path
    }
}

type Items = Vec<Result<(u64, Vec<Option<String>>), (u64, String, String)>>;

/// Headers and items of a file; errors as line, reason, raw.
fn read(path: &Path) -> (Vec<String>, Items) {
    let mut reader = open(path, Options::default()).expect("a table");
    let items = (&mut reader)
        .map(|item| match item {
            Ok(row) => Ok((row.line, row.values)),
            Err(error) => Err((error.line, error.reason, error.raw)),
        })
        .collect();
    (reader.headers().to_vec(), items)
}

fn values(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect()
}

#[test]
fn quoted_fields_may_hold_delimiters_quotes_and_lines() {
    let folder = Folder::new();
    let path =
        folder.write("a.csv", "\u{feff}id,text,n\r\n1,\"a, \"\"b\"\"\r\nc\",\r\n\r\n2,ü,3\r\n");
    let (headers, rows) = read(&path);
    assert_eq!(headers, ["id", "text", "n"]);
    assert_eq!(
        rows,
        [Ok((2, values(&["1", "a, \"b\"\r\nc", ""]))), Ok((5, values(&["2", "ü", "3"])))]
    );
}

#[test]
fn a_file_may_end_without_a_line_end_or_with_an_empty_field() {
    let folder = Folder::new();
    let (_, rows) = read(&folder.write("a.csv", "a,b\n1,2\n3,"));
    assert_eq!(rows, [Ok((2, values(&["1", "2"]))), Ok((3, values(&["3", ""])))]);
    let (_, rows) = read(&folder.write("b.csv", "a,b\n1,\"2\""));
    assert_eq!(rows, [Ok((2, values(&["1", "2"])))]);
}

#[test]
fn the_delimiter_is_found_by_what_splits_the_lines_evenly() {
    let folder = Folder::new();
    for (name, text, delimiter) in [
        ("a.csv", "a,b;c\n1,2;3\n4,5;6\n7,8;9\n", ','),
        ("b.csv", "a;b,c;d\n1;2,5;3\n4;\"5;6\";7\n", ';'),
        ("c.tsv", "a\tb\n1,2\t3,4\n5\t6\n", '\t'),
        ("d.csv", "only\n1\n2\n", ','),
        ("e.csv", "a;b\n1;2\n3\n", ';'),
    ] {
        let reader = open(&folder.write(name, text), Options::default()).expect("a table");
        assert_eq!(reader.delimiter(), Some(delimiter), "{name}");
    }
    let path = folder.write("f.csv", "a|b\n1|2\n");
    let mut reader =
        open(&path, Options { delimiter: Some(b'|'), ..Options::default() }).expect("a table");
    assert_eq!(reader.next().expect("a row").expect("a sound row").values, values(&["1", "2"]));
}

#[test]
fn a_bad_row_is_reported_and_the_next_is_read() {
    let folder = Folder::new();
    let mut bytes = b"a,b\n1,2,3\n4\n5,x\"y\n6,\"x\"y\n7,\xff\n8,9\n".to_vec();
    bytes.extend_from_slice(b"10,a\rb\n");
    let (_, rows) = read(&folder.write("a.csv", bytes));
    let reasons: Vec<_> = rows
        .iter()
        .map(|row| match row {
            Ok((line, values)) => format!("{line}: {values:?}"),
            Err((line, reason, raw)) => format!("{line}: {reason} [{raw}]"),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "2: 3 fields where the header has 2 [1,2,3]",
            "3: 1 fields where the header has 2 [4]",
            "4: a quote inside field 2, which does not start with one [5,x\"y]",
            "5: text after the closing quote of field 2 [6,\"x\"y]",
            "6: field 2 is not UTF-8; convert the file, for example with iconv [7,\u{fffd}]",
            "7: [Some(\"8\"), Some(\"9\")]",
            "8: a carriage return inside field 2, which is not quoted [10,a\rb]",
        ]
    );
}

#[test]
fn a_quote_that_is_never_closed_costs_one_row() {
    let folder = Folder::new();
    let (_, rows) = read(&folder.write("a.csv", "a,b\n1,\"open\n2,x\n3,y\n"));
    let Err((2, reason, raw)) = &rows[0] else { panic!("{rows:?}") };
    assert!(reason.starts_with("the quote that opens field 2 is never closed"), "{reason}");
    assert_eq!(raw, "1,\"open");
    assert_eq!(rows[1..], [Ok((3, values(&["2", "x"]))), Ok((4, values(&["3", "y"])))]);
}

#[test]
fn a_record_without_end_is_cut_and_costs_little_memory() {
    let folder = Folder::new();
    let mut text = "a\n1\n".to_owned();
    text.push_str(&"x".repeat(3 * LONGEST_RECORD_BYTES));
    text.push_str("\n2\n\"open\n");
    text.push_str(&"yyyyyyy\n".repeat(LONGEST_RECORD_BYTES / 8));
    let (_, rows) = read(&folder.write("a.csv", text));
    let refused: Vec<u64> = rows
        .iter()
        .filter_map(|row| row.as_ref().err())
        .map(|(line, reason, raw)| {
            assert!(reason.starts_with("the record is longer than"), "{reason}");
            assert!(raw.len() <= LONGEST_RECORD_BYTES);
            *line
        })
        .collect();
    assert_eq!(refused, [3, 5]);
    assert_eq!(rows[2], Ok((4, values(&["2"]))));
    assert_eq!(rows.len(), 4 + LONGEST_RECORD_BYTES / 8);
}

#[test]
fn quotes_between_tabs_are_text() {
    let folder = Folder::new();
    let (_, rows) = read(&folder.write("a.tsv", "a\tb\n5\" disk\t\"q\tr\"\n"));
    assert_eq!(rows, [Ok((2, values(&["5\" disk", "q\tr"])))]);
}

#[test]
fn a_header_names_every_column_once() {
    let folder = Folder::new();
    let (headers, _) = read(&folder.write("a.csv", "x,,y,\n1,2,3,4\n"));
    assert_eq!(headers, ["x", "column_2", "y", "column_4"]);
    let error = open(&folder.write("b.csv", "x,y,x\n1,2,3\n"), Options::default())
        .expect_err("a double name");
    assert!(
        error
            .to_string()
            .ends_with("b.csv:1: columns 1 and 3 are both called 'x'; rename one of them"),
        "{error}"
    );
}

#[test]
fn files_without_a_table_are_refused_with_a_reason() {
    let folder = Folder::new();
    let refused = |path: PathBuf| {
        format!("{:#}", anyhow::Error::from(open(&path, Options::default()).expect_err("no table")))
    };
    assert!(refused(folder.write("a.csv", "")).contains("the file is empty"));
    assert!(refused(folder.write("a.jsonl", "\n\n")).contains("the file is empty"));
    assert!(refused(folder.write("a.json", "[{\"a\": 1}]")).contains("jq -c '.[]'"));
    assert!(refused(folder.write("a.parquet", "no")).contains("is not a Parquet file"));
    assert!(refused(folder.0.path().join("none.csv")).contains("none.csv: cannot be read"));
    assert!(refused(folder.0.path().to_owned()).contains("cannot be read"));
}

#[test]
fn json_lines_become_columns() {
    let folder = Folder::new();
    let text = "{\"a\": 1, \"b\": {\"c\": \"x\", \"d\": [1, 2]}}\n\n[1]\n{\"a\": 12345678901234567890, \"e\": null, \"f\": \"\"}\n{\"a\": tru}\n{\"b.c\": 1, \"b\": {\"c\": 2}}\n{\"g\": 1.50}";
    let (headers, rows) = read(&folder.write("a.ndjson", text));
    assert_eq!(headers, ["a", "b.c", "b.d", "e", "f", "g"]);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(rows[0], Ok((1, vec![some("1"), some("x"), some("[1,2]"), None, None, None])));
    assert_eq!(
        rows[2],
        Ok((4, vec![some("12345678901234567890"), None, None, None, some(""), None]))
    );
    assert_eq!(rows[5], Ok((7, vec![None, None, None, None, None, some("1.5")])));
    let reason = |index: usize| rows[index].as_ref().expect_err("a bad row");
    assert_eq!((reason(1).0, reason(1).1.as_str()), (3, "the line is JSON, but not an object"));
    assert!(reason(3).1.starts_with("the line is not JSON: "));
    assert_eq!((reason(4).0, reason(4).1.as_str()), (6, "two values for 'b.c'"));
}

#[test]
fn a_json_key_that_appears_late_becomes_a_column_when_it_appears() {
    let folder = Folder::new();
    let mut text = "{\"a\": 1}\n".repeat(1_500);
    text.push_str("{\"a\": 2, \"late\": 3}\n");
    let mut reader = open(&folder.write("a.jsonl", text), Options::default()).expect("a table");
    assert_eq!(reader.headers(), ["a"]);
    let last = (&mut reader).last().expect("rows").expect("a sound row");
    assert_eq!(reader.column("late"), Some(1));
    assert_eq!(last.get(1), Some("3"));
}

#[test]
fn compression_is_recognised_by_content() {
    let folder = Folder::new();
    let text = b"a,b\n1,2\n3,4\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&text[..8]).expect("memory");
    let mut gzip_bytes = gzip.finish().expect("memory");
    let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    second.write_all(&text[8..]).expect("memory");
    gzip_bytes.extend(second.finish().expect("memory"));
    let zstd_bytes = zstd::encode_all(&text[..], 3).expect("memory");
    let expected: Items = vec![Ok((2, values(&["1", "2"]))), Ok((3, values(&["3", "4"])))];
    assert_eq!(read(&folder.write("a.csv.gz", gzip_bytes)).1, expected);
    assert_eq!(read(&folder.write("a.csv.zst", &zstd_bytes)).1, expected);
    assert_eq!(read(&folder.write("no extension", &zstd_bytes)).1, expected);
}

#[test]
fn a_truncated_gzip_file_ends_with_a_fatal_error() {
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(b"a,b\n1,2\n").expect("memory");
    for row in 0..100_000 {
        writeln!(gzip, "{row},{row}").expect("memory");
    }
    let bytes = gzip.finish().expect("memory");
    let reader = open(&folder.write("a.csv.gz", &bytes[..bytes.len() / 2]), Options::default())
        .expect("a table");
    let items: Vec<_> = reader.collect();
    let (last, before) = items.split_last().expect("items");
    let error = last.as_ref().expect_err("the end is missing");
    assert!(error.fatal);
    assert!(error.to_string().contains("a.csv.gz:"), "{error}");
    assert!(before.len() > 1_000 && before.iter().all(Result::is_ok));
}

#[test]
fn parquet_columns_become_text() {
    let folder = Folder::new();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from((0..3_000).collect::<Vec<_>>()))),
        (
            "name",
            Arc::new(StringArray::from_iter(
                (0..3_000).map(|id| (id % 2 == 0).then(|| format!("n{id}"))),
            )),
        ),
        (
            "rate",
            Arc::new(Float64Array::from_iter_values((0..3_000).map(|id| f64::from(id) / 4.0))),
        ),
        ("yes", Arc::new(BooleanArray::from_iter((0..3_000).map(|id| Some(id == 1))))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .expect("equal lengths");
    let path = folder.0.path().join("a.parquet");
    let mut writer =
        ArrowWriter::try_new(File::create(&path).expect("a file"), batch.schema(), None)
            .expect("a writer");
    writer.write(&batch).expect("a file");
    writer.close().expect("a file");

    let (headers, rows) = read(&path);
    assert_eq!(headers, ["id", "name", "rate", "yes"]);
    assert_eq!(rows.len(), 3_000);
    assert_eq!(rows[1], Ok((2, values(&["1", "", "0.25", "true"]))));
    assert_eq!(rows[2_998], Ok((2_999, values(&["2998", "n2998", "749.5", "false"]))));

    let compressed = folder.write(
        "a.parquet.zst",
        zstd::encode_all(File::open(&path).expect("a file"), 3).expect("memory"),
    );
    assert_eq!(read(&compressed), (headers, rows));
}

#[test]
fn progress_reaches_the_size_of_the_file() {
    let folder = Folder::new();
    let text = format!("a,b\n{}", "1,2\n".repeat(100_000));
    let path = folder.write("a.csv", &text);
    let told = Arc::new(AtomicU64::new(0));
    let teller = Arc::clone(&told);
    let on_progress: ProgressCallback = Box::new(move |progress| {
        let before = teller.swap(progress.bytes_read, Ordering::Relaxed);
        assert!(before <= progress.bytes_read && progress.bytes_read <= progress.bytes_total);
    });
    let mut reader = open(&path, Options { on_progress: Some(on_progress), ..Options::default() })
        .expect("a table");
    let total = text.len() as u64;
    let at_start = reader.progress();
    assert!(at_start.bytes_read < total && at_start.bytes_total == total);
    assert_eq!((&mut reader).count(), 100_000);
    assert_eq!(reader.progress(), Progress { bytes_read: total, bytes_total: total });
    assert_eq!(told.load(Ordering::Relaxed), total);
}

/// The files of the public data with their number of rows, as its README counts them.
fn public_files() -> Vec<(PathBuf, usize)> {
    let folder = std::env::var_os("NORTHSTAR_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let Ok(readme) = fs::read_to_string(folder.join("README.md")) else {
        eprintln!(
            "skipped: no test data in {}; set NORTHSTAR_TEST_DATA to run this test",
            folder.display()
        );
        return Vec::new();
    };
    let mut files = Vec::new();
    for line in readme.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, set, list, ..] = cells[..] else { continue };
        for entry in list.split("; ") {
            let counted = entry.strip_suffix(')').and_then(|entry| entry.split_once(" ("));
            if let Some((file, rows)) = counted
                && file.contains(".csv")
            {
                files.push((folder.join(set).join(file), rows.parse().expect("a count")));
            }
        }
    }
    assert!(files.len() >= 50, "only {} files in the README", files.len());
    files
}

#[test]
fn every_public_file_is_read_without_a_bad_row() {
    for (path, expected) in public_files() {
        let reader = open(&path, Options::default()).expect("a table");
        let mut rows = 0;
        for row in reader {
            row.unwrap_or_else(|error| panic!("{error}"));
            rows += 1;
        }
        assert_eq!(rows, expected, "{}", path.display());
    }
}

/// The rows of `bytes` as comma-separated values, or nothing if it has no header.
fn rows_of(bytes: &[u8]) -> Vec<Result<Row, RowError>> {
    let folder = Folder::new();
    let path = folder.write("a.csv", bytes);
    let options = Options { format: Some(Format::Csv), delimiter: Some(b','), on_progress: None };
    open(&path, options).map(Iterator::collect).unwrap_or_default()
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_is_read_back(
        records in proptest::collection::vec(proptest::array::uniform3("[a\",;\r\n\u{e9} ]{0,6}"), 1..12),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["x", "y", "z"]).expect("memory");
        for record in &records {
            writer.write_record(record).expect("memory");
        }
        let read: Vec<Vec<Option<String>>> = rows_of(&writer.into_inner().expect("memory"))
            .into_iter()
            .map(|row| row.expect("a sound row").values)
            .collect();
        let expected: Vec<Vec<Option<String>>> = records
            .iter()
            .map(|record| values(&[record[0].as_str(), record[1].as_str(), record[2].as_str()]))
            .collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn any_bytes_are_read_to_the_end_and_every_line_is_accounted_for(
        text in proptest::collection::vec(proptest::sample::select(b"ab,\"\n\n\r\xff".to_vec()), 0..80),
    ) {
        let mut bytes = b"x,y\n".to_vec();
        bytes.extend_from_slice(&text);
        let mut last = 1;
        for row in rows_of(&bytes) {
            let line = match row {
                Ok(row) => row.line,
                Err(error) => {
                    prop_assert!(!error.fatal);
                    error.line
                }
            };
            prop_assert!(line > last, "line {line} after {last}");
            last = line;
        }
    }
}
