//! Memory that is free: what a burst leaves behind, and the buffers that belong to threads.

use std::cell::Cell;
use std::thread::LocalKey;

/// A thread's buffer between two uses: a connection that waits, or a thread that serves many, holds none of
/// its own.
pub type Spare = Cell<Vec<u8>>;

/// Takes a thread's buffer, with whatever is in it; an empty one if there is none.
pub fn take(spare: &'static LocalKey<Spare>) -> Vec<u8> {
    // While the thread ends there is none.
    spare.try_with(Cell::take).unwrap_or_default()
}

/// Keeps a buffer of at most `most` bytes for the thread's next use; a larger one is freed.
pub fn keep(spare: &'static LocalKey<Spare>, buffer: Vec<u8>, most: usize) {
    if (1..=most).contains(&buffer.capacity()) {
        // While the thread ends there is nobody to keep it for.
        let _ = spare.try_with(|spare| spare.set(buffer));
    }
}

/// Gives memory that has been freed back to the operating system, as far as the C library can. It takes
/// some milliseconds, more where much is free.
///
/// The C library keeps freed memory for the next allocation; after many connections, that is more than
/// will be needed soon.
pub fn give_back() {
    crate::ffi::give_memory_back();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_kept_for_the_next_use_unless_it_is_large() {
        thread_local! {
            static SPARE: Spare = const { Cell::new(Vec::new()) };
        }
        assert_eq!(take(&SPARE).capacity(), 0);
        keep(&SPARE, Vec::with_capacity(8), 8);
        assert!(take(&SPARE).capacity() >= 8);
        assert_eq!(take(&SPARE).capacity(), 0);
        keep(&SPARE, Vec::with_capacity(9), 8);
        assert_eq!(take(&SPARE).capacity(), 0);
    }
}
