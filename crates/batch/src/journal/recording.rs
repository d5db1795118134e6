//! A medium in memory that records.
