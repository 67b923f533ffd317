"""What is known of pictures before they are captioned: duplicates, evaluation images, lists of what is not wanted."""
