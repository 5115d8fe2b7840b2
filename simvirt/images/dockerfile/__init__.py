"""A reader of build files: text, to logical lines, to stages of instructions, to words with their variables replaced."""
