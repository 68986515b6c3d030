"""From files to records: tars, their index, boxes and images."""
