//! What the reader of a report sees.
