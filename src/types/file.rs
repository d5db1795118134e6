//! What a file can say about itself.

use crate::types::FileState;

impl FileState {
    /// Whether the state is final. An unknown state counts as not final.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Ready | Self::Failed | Self::Deleted)
    }
}
