//! Why a message is not a configuration, and where in it.

use std::fmt;

use rules::pattern::InvalidPattern;

/// A message that cannot be understood; `field` is the path to what is wrong: `http_routes[2].rules[0].filters[1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub field: String,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The bytes are not a message of this kind.
    Undecodable,
    /// Not set, or set to a choice that this version does not know.
    Missing,
    /// More than this many.
    TooMany(usize),
    /// Longer than this many bytes.
    TooLong(usize),
    /// Not among the values it may have.
    OutOfRange,
    /// Not in the form its text must have.
    Malformed,
    Pattern(InvalidPattern),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.field)?;
        match &self.why {
            Why::Undecodable => f.write_str("cannot be decoded"),
            Why::Missing => f.write_str("is missing or of a kind this version does not know"),
            Why::TooMany(limit) => write!(f, "has more than {limit} entries"),
            Why::TooLong(limit) => write!(f, "is longer than {limit} bytes"),
            Why::OutOfRange => f.write_str("is out of range"),
            Why::Malformed => f.write_str("is malformed"),
            Why::Pattern(why) => write!(f, "is invalid: {why}"),
        }
    }
}

impl std::error::Error for Invalid {}

impl Invalid {
    pub(crate) fn new(field: &str, why: Why) -> Invalid {
        Invalid { field: field.to_owned(), why }
    }

    /// The same, seen from the message around it.
    pub(crate) fn within(mut self, outer: impl fmt::Display) -> Invalid {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

/// `value`, which must be set.
pub(crate) fn required<'a, T>(field: &str, value: &'a Option<T>) -> Result<&'a T, Invalid> {
    value.as_ref().ok_or_else(|| Invalid::new(field, Why::Missing))
}

/// Converts what is set in `value`, which must be.
pub(crate) fn within<'a, T, U>(
    field: &str,
    value: &'a Option<T>,
    convert: impl FnOnce(&'a T) -> Result<U, Invalid>,
) -> Result<U, Invalid> {
    convert(required(field, value)?).map_err(|invalid| invalid.within(field))
}

/// Converts `value` if it is set.
pub(crate) fn optional<'a, T, U>(
    field: &str,
    value: &'a Option<T>,
    convert: impl FnOnce(&'a T) -> Result<U, Invalid>,
) -> Result<Option<U>, Invalid> {
    value.as_ref().map(convert).transpose().map_err(|invalid| invalid.within(field))
}

/// Converts every entry of a list of at most `limit`.
pub(crate) fn each<'a, T, U>(
    field: &str,
    entries: &'a [T],
    limit: usize,
    mut convert: impl FnMut(&'a T) -> Result<U, Invalid>,
) -> Result<Vec<U>, Invalid> {
    if entries.len() > limit {
        return Err(Invalid::new(field, Why::TooMany(limit)));
    }
    let convert =
        |(index, entry)| convert(entry).map_err(|invalid: Invalid| invalid.within(format_args!("{field}[{index}]")));
    entries.iter().enumerate().map(convert).collect()
}

/// `value` if `valid` says so.
pub(crate) fn check<T>(field: &str, value: T, why: Why, valid: bool) -> Result<T, Invalid> {
    if valid { Ok(value) } else { Err(Invalid::new(field, why)) }
}
