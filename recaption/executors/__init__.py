"""Where units are captioned: processes of this machine, or a Ray cluster."""
