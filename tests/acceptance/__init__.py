"""What users do: the installed wheel, the README's commands, a real browser on the inspector."""
