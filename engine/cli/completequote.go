package cli

import "strings"

// unquote takes the quotes of bash off a word; the last one may not be closed.
func unquote(word string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(word); i++ {
		c := word[i]
		switch {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == '\\' && quote != '\'' && i+1 < len(word) && (quote == 0 || strings.IndexByte("$`\"\\", word[i+1]) >= 0):
			i++
			b.WriteByte(word[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// bashQuoted is text as it has to be typed in the place of word: bash keeps a quote
// that the word begins with, and closes it.
func bashQuoted(text, word string) string {
	special := "\\ \t\"'`$&|;<>()[]{}*?!#~=:^"
	switch {
	case strings.HasPrefix(word, `'`):
		return strings.ReplaceAll(text, `'`, `'\''`)
	case strings.HasPrefix(word, `"`):
		special = "\\\"`$"
	}
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(special, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
