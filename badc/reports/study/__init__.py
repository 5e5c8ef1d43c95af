"""The numbers, words and sounds behind the plots and the page."""
