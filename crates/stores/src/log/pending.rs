// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the database gives the sealer.

use chancery_core::evidence::Hash;

/// The rows behind one log: records, in the order they were given an index, and checkpoints.
///
/// Every method that changes something is one transaction, all or nothing, and durable once it
/// returns `Ok`: it survives a power cut. After an `Err` it may have happened or not; every one can
/// be repeated. Several sealers may call at once.
pub trait Pending {
    /// What the database says when it cannot.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Gives at most `limit` of the records that have no index the next ones, oldest first and
    /// without gaps, and returns how many records have ever got one: the size of the tree to be.
    ///
    /// An index, once given, belongs to its record for ever: it is never given again, not even
    /// after [`Pending::forget`].
    ///
    /// # Errors
    /// The database's own.
    fn assign(&mut self, limit: u64) -> Result<u64, Self::Error>;

    /// The records with the indices `begin..end`, in that order; fewer if some are not there.
    ///
    /// # Errors
    /// The database's own.
    fn records(&mut self, begin: u64, end: u64) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// The checkpoint of the largest size.
    ///
    /// # Errors
    /// The database's own.
    fn latest(&mut self) -> Result<Option<CheckpointRow>, Self::Error>;

    /// The root that was reserved for `size`, if one was. Checkpoints are kept for ever.
    ///
    /// # Errors
    /// The database's own.
    fn root(&mut self, size: u64) -> Result<Option<Hash>, Self::Error>;

    /// Binds `size` to `root`, once and for ever. What has not been reserved is not signed.
    ///
    /// # Errors
    /// The database's own; being refused is no error but a [`Reserved`].
    fn reserve(&mut self, size: u64, root: &Hash) -> Result<Reserved, Self::Error>;

    /// Keeps the signed note of a reserved size.
    ///
    /// # Errors
    /// The database's own, also for a size that was never reserved.
    fn store_note(&mut self, size: u64, note: &str) -> Result<(), Self::Error>;

    /// Deletes the records with an index below `end`. Does nothing unless a note is stored for a
    /// size of at least `end`.
    ///
    /// # Errors
    /// The database's own.
    fn forget(&mut self, end: u64) -> Result<(), Self::Error>;
}

/// A size that was bound to a root, and the note if it has been signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// How many records the tree has.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// The signed checkpoint.
    pub note: Option<String>,
}

/// What became of a size that was to be bound to a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It is bound now, or was already bound to this very root, and none is larger.
    Ours,
    /// A larger size is already bound.
    Overtaken,
    /// It is bound to another root.
    Forked,
}
