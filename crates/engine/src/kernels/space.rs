//! The cells of an answer: bucket by dimension values, as one number.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Context, sparse::SparseRows};
use crate::{
    calendar::Buckets,
    query::Dimension,
    runs::Run,
    segment::{Codes, Field, Numbers, PropertyColumn, Scalar, Seeded},
    snapshot::Snapshot,
    subjects::SubjectSet,
};

/// Cells up to which kernels keep one slot for each, rather than a hash table of those that occur.
const DENSE_CELLS: u64 = 1 << 16;

/// What the number of a cell means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Space {
    pub buckets: Buckets,
    /// Values of each dimension by their number; number 0 is absent.
    pub dimensions: Vec<Vec<Option<String>>>,
}

impl Space {
    /// Combinations of dimension values.
    pub(crate) fn combinations(&self) -> u64 {
        self.dimensions.iter().map(|values| values.len() as u64).product()
    }

    /// Bucket and dimension values of a cell.
    pub(crate) fn decode(&self, cell: u64) -> (usize, Vec<Option<String>>) {
        let combinations = self.combinations();
        let mut rest = cell % combinations;
        let mut values: Vec<Option<String>> = Vec::with_capacity(self.dimensions.len());
        for dimension in self.dimensions.iter().rev() {
            values.push(dimension[(rest % dimension.len() as u64) as usize].clone());
            rest /= dimension.len() as u64;
        }
        values.reverse();
        ((cell / combinations) as usize, values)
    }

    /// The number of a combination, from the numbers of its values.
    pub(crate) fn number(&self, values: impl IntoIterator<Item = u32>) -> u64 {
        let sizes = self.dimensions.iter().map(|values| values.len() as u64);
        sizes.zip(values).fold(0, |number, (size, value)| number * size + u64::from(value))
    }

    /// The number of a combination of values; `None` when one of them never occurs.
    pub(crate) fn find(&self, wanted: &[Option<String>]) -> Option<u64> {
        if wanted.len() != self.dimensions.len() {
            return None;
        }
        let known = self.dimensions.iter().zip(wanted);
        let numbers: Option<Vec<u32>> = known
            .map(|(values, wanted)| {
                values.iter().position(|value| value == wanted).map(|number| number as u32)
            })
            .collect();
        numbers.map(|numbers| self.number(numbers))
    }

    /// The cell of a bucket and dimension values; `None` when no event has them.
    pub(crate) fn find_cell(&self, bucket: usize, values: &[Option<String>]) -> Option<u64> {
        Some(bucket as u64 * self.combinations() + self.find(values)?)
    }

    /// Takes the dimension values of another space in, and returns how its cells are numbered here.
    pub(crate) fn absorb(&mut self, other: &Self) -> impl Fn(&Self, u64) -> u64 + use<> {
        let maps: Vec<Vec<u64>> = self
            .dimensions
            .iter_mut()
            .zip(&other.dimensions)
            .map(|(mine, theirs)| {
                let known: HashMap<Option<String>, usize> = mine.iter().cloned().zip(0..).collect();
                theirs
                    .iter()
                    .map(|value| {
                        let number = known.get(value).copied().unwrap_or_else(|| {
                            mine.push(value.clone());
                            mine.len() - 1
                        });
                        number as u64
                    })
                    .collect()
            })
            .collect();
        move |now: &Self, cell| {
            let sizes: Vec<u64> = maps.iter().map(|map| map.len() as u64).collect();
            let combinations: u64 = sizes.iter().product();
            let mut rest = cell % combinations;
            let (mut number, mut factor) = (0, 1);
            for ((map, size), values) in maps.iter().zip(&sizes).zip(&now.dimensions).rev() {
                number += map[(rest % size) as usize] * factor;
                factor *= values.len() as u64;
                rest /= size;
            }
            (cell / combinations) * factor + number
        }
    }
}

/// Some of all values: those whose hashes leave this remainder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    pub number: u32,
    pub of: u32,
}

impl Bucket {
    const ALL: Self = Self { number: 0, of: 1 };

    fn holds(self, value: &str) -> bool {
        self.of == 1 || xxh3_64(value.as_bytes()) % u64::from(self.of) == u64::from(self.number)
    }
}

/// Numbers the values of one dimension across runs.
#[derive(Debug)]
pub(crate) struct Values {
    bucket: Bucket,
    numbers: HashMap<String, u32, Seeded>,
    values: Vec<Option<String>>,
}

impl Values {
    pub(crate) fn new() -> Self {
        Self::of_bucket(Bucket::ALL)
    }

    /// Numbers the values of a bucket, and takes all others for absent.
    pub(crate) fn of_bucket(bucket: Bucket) -> Self {
        Self { bucket, numbers: HashMap::default(), values: vec![None] }
    }

    pub(crate) fn number(&mut self, value: Option<String>) -> u32 {
        let Some(value) = value.filter(|value| self.bucket.holds(value)) else { return 0 };
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.values.push(Some(value.clone()));
        self.numbers.insert(value, number);
        number
    }

    pub(crate) fn into_values(self) -> Vec<Option<String>> {
        self.values
    }
}

/// The value numbers of one dimension for the rows of one run.
#[derive(Debug)]
pub(crate) enum ValueColumn<'a> {
    Same(u32),
    Coded {
        codes: Codes<'a>,
        numbers: Vec<u32>,
    },
    /// The codes of a column that few rows have.
    SparseCoded {
        rows: SparseRows<'a>,
        codes: Codes<'a>,
        numbers: Vec<u32>,
    },
    /// One number a cell of a column that few rows have.
    Sparse {
        rows: SparseRows<'a>,
        numbers: Vec<u32>,
    },
    Own(Vec<u32>),
}

impl<'a> ValueColumn<'a> {
    pub(crate) fn new(dimension: &Dimension, run: &'a Run, values: &mut Values) -> Self {
        let field = match dimension {
            Dimension::Event => Field::Name,
            Dimension::Source => Field::Source,
            Dimension::AccountId => Field::AccountId,
            Dimension::Property(path) => return Self::property(path, run, values),
            // It belongs to the view and not to a run, see [`ValueColumn::of_cohort`].
            Dimension::Cohort(_) => return Self::Same(0),
        };
        let column = run.segment.field(field);
        let numbers = column.strings.iter().map(|text| values.number(Some(text.to_owned())));
        Self::Coded { codes: column.codes, numbers: [0].into_iter().chain(numbers).collect() }
    }

    /// Whether the subjects of the events are in a cohort, one column per run.
    fn of_cohort(snapshot: &Snapshot, members: &SubjectSet, values: &mut Values) -> Vec<Self> {
        let within = values.number(Some(Dimension::IN.to_owned()));
        let without = values.number(Some(Dimension::OUT.to_owned()));
        let rows = |run: &Arc<Run>| vec![without; run.events()];
        let mut columns: Vec<Vec<u32>> = snapshot.runs().iter().map(rows).collect();
        for part in members.iter().flat_map(|subject| snapshot.index().parts_of(subject)) {
            columns[part.run as usize][part.start as usize..part.end as usize].fill(within);
        }
        columns.into_iter().map(Self::Own).collect()
    }

    fn property(path: &str, run: &'a Run, values: &mut Values) -> Self {
        let Some(column) = run.segment.property(path) else { return Self::Same(0) };
        let mut numbers = vec![0, 0];
        numbers.extend(column.entries.iter().map(|value| values.number(value.label())));
        let sparse = column.rows.filter(|rows| SparseRows::pays(rows, run.events()));
        if column.numbers.is_none() {
            match (column.rows, sparse) {
                (None, _) => return Self::Coded { codes: column.codes, numbers },
                (_, Some(rows)) => {
                    let rows = SparseRows::of(path, rows, run);
                    return Self::SparseCoded { rows, codes: column.codes, numbers };
                }
                (Some(_), None) => {}
            }
        }
        // A column with many different numbers, or one that many rows have but not all: number the cells, or the rows,
        // once.
        let mut own = vec![0; sparse.map_or_else(|| run.events(), <[_]>::len)];
        let mut seen: HashMap<u64, u32, Seeded> = HashMap::default();
        column.for_each_present(run.events(), |row, cell, code| {
            let slot = if sparse.is_some() { cell } else { row };
            own[slot] = match (code, column.numbers) {
                (PropertyColumn::NUMBER, Some(wide)) => {
                    let scalar = wide.scalar(cell);
                    let bits = match scalar {
                        Scalar::Int(value) => value as u64,
                        other => other.number().unwrap_or(f64::NAN).to_bits(),
                    };
                    *seen.entry(bits).or_insert_with(|| values.number(scalar.label()))
                }
                _ => numbers[code as usize],
            };
        });
        match sparse {
            Some(rows) => Self::Sparse { rows: SparseRows::of(path, rows, run), numbers: own },
            None => Self::Own(own),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, row: usize) -> u32 {
        match self {
            Self::Same(number) => *number,
            Self::Coded { codes, numbers } => numbers[codes.get(row) as usize],
            Self::SparseCoded { rows, codes, numbers } => {
                rows.cell(row).map_or(0, |cell| numbers[codes.get(cell) as usize])
            }
            Self::Sparse { rows, numbers } => rows.cell(row).map_or(0, |cell| numbers[cell]),
            Self::Own(numbers) => numbers[row],
        }
    }
}

/// Finds the cell of an event.
pub(crate) struct Locator<'a> {
    pub space: Space,
    combinations: u64,
    sizes: Vec<u64>,
    /// Per run, per dimension.
    columns: Vec<Vec<ValueColumn<'a>>>,
}

impl<'a> Locator<'a> {
    pub(crate) fn new(context: &Context<'a>) -> Self {
        Self::over(context.snapshot, &context.query.breakdowns, context.buckets.clone())
    }

    /// Finds cells of these buckets by these dimensions.
    pub(crate) fn over(snapshot: &'a Snapshot, dimensions: &[Dimension], buckets: Buckets) -> Self {
        let mut values: Vec<Values> = dimensions.iter().map(|_| Values::new()).collect();
        let runs = snapshot.runs();
        let mut columns: Vec<Vec<ValueColumn<'a>>> = runs.iter().map(|_| Vec::new()).collect();
        for (dimension, values) in dimensions.iter().zip(&mut values) {
            let of_runs = match dimension {
                Dimension::Cohort(name) => {
                    let members = snapshot.cohort_members(name).cloned().unwrap_or_default();
                    ValueColumn::of_cohort(snapshot, &members, values)
                }
                _ => runs.iter().map(|run| ValueColumn::new(dimension, run, values)).collect(),
            };
            columns.iter_mut().zip(of_runs).for_each(|(columns, column)| columns.push(column));
        }
        let dimensions: Vec<_> = values.into_iter().map(Values::into_values).collect();
        let space = Space { buckets, dimensions };
        let sizes = space.dimensions.iter().map(|values| values.len() as u64).collect();
        Self { combinations: space.combinations(), sizes, space, columns }
    }

    /// The combination of dimension values of an event.
    #[inline(always)]
    pub(crate) fn combination(&self, run: u32, row: usize) -> u64 {
        if self.sizes.is_empty() {
            return 0;
        }
        let columns = &self.columns[run as usize];
        self.sizes
            .iter()
            .zip(columns)
            .fold(0, |number, (size, column)| number * size + u64::from(column.get(row)))
    }

    /// Number of the value that an event has for one dimension; 0 for none.
    #[inline(always)]
    pub(crate) fn value(&self, dimension: usize, run: u32, row: usize) -> u32 {
        self.columns[run as usize][dimension].get(row)
    }

    #[inline(always)]
    pub(crate) fn cell(&self, bucket: usize, run: u32, row: usize) -> u64 {
        bucket as u64 * self.combinations + self.combination(run, row)
    }

    pub(crate) fn cells<T: Default + Clone>(&self) -> Cells<T> {
        let cells = self.space.buckets.len() as u64 * self.combinations;
        if cells <= DENSE_CELLS {
            Cells::Dense(vec![T::default(); cells as usize])
        } else {
            Cells::Hashed(HashMap::default())
        }
    }
}

/// Remembers the bucket of the event before: events of a subject mostly share buckets with their neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BucketCursor {
    start: i64,
    end: i64,
    bucket: usize,
}

impl BucketCursor {
    pub(crate) fn new() -> Self {
        Self { start: 0, end: 0, bucket: 0 }
    }

    /// Whether an instant lies in the bucket that was found last.
    #[inline(always)]
    pub(crate) fn holds(&self, time: i64) -> bool {
        time >= self.start && time < self.end
    }

    #[inline(always)]
    pub(crate) fn locate(&mut self, buckets: &Buckets, time: i64) -> usize {
        if !self.holds(time) {
            self.bucket = buckets.locate(time);
            self.start = buckets.start(self.bucket);
            self.end = buckets.end(self.bucket);
        }
        self.bucket
    }
}

/// One state per cell.
pub(crate) enum Cells<T> {
    Dense(Vec<T>),
    Hashed(HashMap<u64, T, Seeded>),
}

impl<T: Default> Cells<T> {
    #[inline(always)]
    pub(crate) fn at(&mut self, cell: u64) -> &mut T {
        match self {
            Self::Dense(states) => &mut states[cell as usize],
            Self::Hashed(states) => states.entry(cell).or_default(),
        }
    }

    /// The states for which `keep` gives something.
    pub(crate) fn into_states<S>(self, keep: impl Fn(T) -> Option<S>) -> Vec<(u64, S)> {
        match self {
            Self::Dense(states) => (0..)
                .zip(states)
                .filter_map(|(cell, state)| keep(state).map(|state| (cell, state)))
                .collect(),
            Self::Hashed(states) => states
                .into_iter()
                .filter_map(|(cell, state)| keep(state).map(|state| (cell, state)))
                .collect(),
        }
    }
}

/// The numbers of a property for the rows of one run; NaN where there is none.
pub(crate) enum NumberColumn<'a> {
    Nothing,
    Coded {
        codes: Codes<'a>,
        numbers: Vec<f64>,
    },
    Wide {
        codes: Codes<'a>,
        numbers: Vec<f64>,
        wide: Numbers<'a>,
    },
    /// The cells of a column that few rows have.
    Sparse {
        rows: SparseRows<'a>,
        codes: Codes<'a>,
        numbers: Vec<f64>,
        wide: Option<Numbers<'a>>,
    },
    Own(Vec<f64>),
}

impl<'a> NumberColumn<'a> {
    pub(crate) fn new(path: &str, run: &'a Run) -> Self {
        let Some(column) = run.segment.property(path) else { return Self::Nothing };
        let mut numbers = vec![f64::NAN, f64::NAN];
        numbers.extend(column.entries.iter().map(|value| match value {
            Scalar::Bool(value) => f64::from(u8::from(value)),
            value => value.number().unwrap_or(f64::NAN),
        }));
        if let Some(rows) = column.rows {
            if SparseRows::pays(rows, run.events()) {
                let rows = SparseRows::of(path, rows, run);
                return Self::Sparse { rows, codes: column.codes, numbers, wide: column.numbers };
            }
            let mut own = vec![f64::NAN; run.events()];
            column.for_each_present(run.events(), |row, cell, code| {
                own[row] = match (code, column.numbers) {
                    (PropertyColumn::NUMBER, Some(wide)) => wide.get(cell),
                    _ => numbers[code as usize],
                };
            });
            return Self::Own(own);
        }
        match column.numbers {
            None => Self::Coded { codes: column.codes, numbers },
            Some(wide) => Self::Wide { codes: column.codes, numbers, wide },
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, row: usize) -> f64 {
        match self {
            Self::Nothing => f64::NAN,
            Self::Coded { codes, numbers } => numbers[codes.get(row) as usize],
            Self::Wide { codes, numbers, wide } => match codes.get(row) {
                PropertyColumn::NUMBER => wide.get(row),
                code => numbers[code as usize],
            },
            Self::Sparse { rows, codes, numbers, wide } => {
                rows.cell(row).map_or(f64::NAN, |cell| match (codes.get(cell), wide) {
                    (PropertyColumn::NUMBER, Some(wide)) => wide.get(cell),
                    (code, _) => numbers[code as usize],
                })
            }
            Self::Own(numbers) => numbers[row],
        }
    }
}
