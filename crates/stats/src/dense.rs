//! The little linear algebra that regression on a few covariates needs: a symmetric matrix and its solution.
//!
//! A linear-algebra library would bring more code than all of this crate for systems of at most a few dozen unknowns.

/// Below this share of its diagonal a pivot is rounding, and the column depends on those before it.
const DEPENDENT: f64 = 1e-10;

/// A symmetric matrix, both halves kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Symmetric {
    size: usize,
    cells: Vec<f64>,
}

impl Symmetric {
    pub(crate) fn zero(size: usize) -> Self {
        Self { size, cells: vec![0.0; size * size] }
    }

    pub(crate) fn get(&self, row: usize, column: usize) -> f64 {
        self.cells[row * self.size + column]
    }

    /// Adds `weight * v v'`.
    pub(crate) fn add_outer(&mut self, v: &[f64], weight: f64) {
        for (row, left) in v.iter().enumerate() {
            let scaled = weight * left;
            if scaled == 0.0 {
                continue;
            }
            let cells = &mut self.cells[row * self.size..(row + 1) * self.size];
            cells.iter_mut().zip(v).for_each(|(cell, right)| *cell += scaled * right);
        }
    }

    /// Multiplies every cell.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.cells.iter_mut().for_each(|cell| *cell *= factor);
    }

    /// The rows and columns from `from` to before `to`.
    pub(crate) fn block(&self, from: usize, to: usize) -> Self {
        let size = to - from;
        let cells =
            (0..size * size).map(|cell| self.get(from + cell / size, from + cell % size)).collect();
        Self { size, cells }
    }

    /// `x` with `self x = right` by Cholesky's method, and how many columns are independent. A column that depends on
    /// earlier ones gets 0, which is one of the many solutions such a system has.
    pub(crate) fn solve(&self, right: &[f64]) -> (Vec<f64>, usize) {
        let n = self.size;
        let mut lower = vec![0.0; n * n];
        let mut kept = vec![false; n];
        for column in 0..n {
            let row_of = |row: usize| &lower[row * n..row * n + column];
            let diagonal = self.get(column, column);
            let pivot = diagonal - row_of(column).iter().map(|value| value * value).sum::<f64>();
            if pivot.is_nan() || pivot <= DEPENDENT * diagonal.abs() || diagonal == 0.0 {
                continue;
            }
            kept[column] = true;
            let root = pivot.sqrt();
            let below: Vec<f64> = (column + 1..n)
                .map(|row| {
                    let dot: f64 = row_of(row).iter().zip(row_of(column)).map(|(a, b)| a * b).sum();
                    (self.get(row, column) - dot) / root
                })
                .collect();
            lower[column * n + column] = root;
            for (row, value) in (column + 1..n).zip(below) {
                lower[row * n + column] = value;
            }
        }
        let mut x = vec![0.0; n];
        for row in (0..n).filter(|row| kept[*row]) {
            let dot: f64 = (0..row).map(|at| lower[row * n + at] * x[at]).sum();
            x[row] = (right[row] - dot) / lower[row * n + row];
        }
        for row in (0..n).rev().filter(|row| kept[*row]) {
            let dot: f64 = (row + 1..n).map(|at| lower[at * n + row] * x[at]).sum();
            x[row] = (x[row] - dot) / lower[row * n + row];
        }
        (x, kept.into_iter().filter(|kept| *kept).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        // 4x + 2y = 2, 2x + 3y = 5.
        let mut matrix = Symmetric::zero(2);
        matrix.add_outer(&[2.0, 1.0], 1.0);
        matrix.add_outer(&[0.0, 2.0_f64.sqrt()], 1.0);
        let (x, rank) = matrix.solve(&[2.0, 5.0]);
        assert!((x[0] + 0.5).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12, "{x:?}");
        assert_eq!(rank, 2);
    }

    #[test]
    fn a_column_that_depends_on_another_is_left_out() {
        let mut matrix = Symmetric::zero(2);
        matrix.add_outer(&[1.0, 2.0], 1.0);
        matrix.add_outer(&[3.0, 6.0], 1.0);
        let (x, rank) = matrix.solve(&[10.0, 20.0]);
        assert_eq!((x[1], rank), (0.0, 1));
        assert!((x[0] - 1.0).abs() < 1e-12);
    }
}
