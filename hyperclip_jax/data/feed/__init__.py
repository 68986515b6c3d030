"""From records to batches: order, views, decoding, augmentation."""
