"""What mailboxes and domains hold: measured, kept as snapshots, thinned out, and shown."""
