"""What a captioning job will take: measured on a few rows of it, and checked when it is done."""
