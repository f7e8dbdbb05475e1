//! Memory that is free and not given back: what a burst leaves behind.

/// Gives memory that has been freed back to the operating system, as far as the C library can. It takes
/// some milliseconds, more where much is free.
///
/// The C library keeps freed memory for the next allocation; after many connections, that is more than
/// will be needed soon.
pub fn give_back() {
    crate::ffi::give_memory_back();
}
