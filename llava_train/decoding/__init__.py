"""Bulk decoding: static shapes, cached keys and values written in place, slots that the next picture takes over."""
