"""What the clients of `cloudsync_wire` show about a node: one session after the other, over one carrier.

Never: a node started here, or an account made; the Rust test that runs it brings both, on standard input.
"""
