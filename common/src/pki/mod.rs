//! A local certificate authority, issuing and inspection.
