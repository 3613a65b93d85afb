"""What people see: text made fit for a terminal or Markdown, and panels for a notebook."""
