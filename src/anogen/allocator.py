"""The C library's allocator of memory."""

import ctypes


def keep_freed_memory() -> None:
    """Tell the C library to keep what is freed for the next step instead of giving it back.

    Every step of training or scoring frees and takes the same large blocks. By default each comes
    fresh from the operating system, page by page, which costs more than the cheap operations that
    fill it. Where the C library has no such setting (only GNU's has), nothing happens.

    This is a setting of the whole process, up to 1 GiB of which then stays taken. The command line
    makes it; a program that uses the library decides for itself.
    """
    mmap_threshold, trim_threshold = -3, -1
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or another system
        return
    if any(set_option(mmap_threshold, size) for size in (2**30, 2**25)):  # 2²⁵: older versions
        set_option(trim_threshold, 2**30)
