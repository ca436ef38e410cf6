//! Keyset pages: ask for one row more than fits to learn whether there is a
//! next page.

use std::num::NonZeroU32;

/// Size of a page, 1 to 1,000.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageSize(NonZeroU32);

/// The size asked for is negative or above 1,000.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("page_size must lie between 0 and 1000, not {0}")]
pub struct InvalidPageSize(pub i32);

impl PageSize {
    /// The default.
    pub const DEFAULT: Self = Self(NonZeroU32::new(50).expect("50 is not zero"));

    /// Reads a request's `page_size`; 0 is the default.
    ///
    /// # Errors
    /// When it is negative or above 1,000.
    pub fn from_request(size: i32) -> Result<Self, InvalidPageSize> {
        match u32::try_from(size).ok().filter(|size| *size <= 1000) {
            Some(size) => Ok(NonZeroU32::new(size).map_or(Self::DEFAULT, Self)),
            None => Err(InvalidPageSize(size)),
        }
    }

    /// The `LIMIT` to ask for: one more than fits.
    pub fn limit(self) -> i64 {
        i64::from(self.0.get()) + 1
    }

    /// Cuts the row too many off. The second value tells whether there was one.
    pub fn cut<T>(self, mut rows: Vec<T>) -> (Vec<T>, bool) {
        let size = self.0.get() as usize;
        let more = rows.len() > size;
        rows.truncate(size);
        (rows, more)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidPageSize, PageSize};

    #[test]
    fn a_page_knows_whether_another_follows() {
        let two = PageSize::from_request(2).unwrap();
        assert_eq!(two.limit(), 3);
        assert_eq!(two.cut(vec![1, 2, 3]), (vec![1, 2], true));
        assert_eq!(two.cut(vec![1, 2]), (vec![1, 2], false));
    }

    #[test]
    fn zero_is_the_default_and_more_than_a_thousand_is_refused() {
        assert_eq!(PageSize::from_request(0), Ok(PageSize::DEFAULT));
        assert_eq!(PageSize::from_request(1001), Err(InvalidPageSize(1001)));
        assert_eq!(PageSize::from_request(-1), Err(InvalidPageSize(-1)));
    }
}
