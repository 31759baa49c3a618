"""A client of CloudSync, written from docs/wire.md and docs/crypto.md alone: what these pages don't say, it can't know.

Never: a line taken over from the Rust code, or a guess; where a page did not suffice it was mended.
"""
