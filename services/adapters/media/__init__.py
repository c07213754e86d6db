"""Reading files that strangers sent: what they are, the text in them, pictures made smaller, speech as text."""
