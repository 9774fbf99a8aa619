package engine

import "log/slog"

// Masked is what is shown in a secret's place.
const Masked = "***"

// Secret is a value that must not be shown: every way of printing it, logging
// it or encoding it gives Masked.
type Secret struct{ value string }

// NewSecret makes a secret of value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value itself.
func (s Secret) Reveal() string { return s.value }

// String returns Masked; so do the methods below, each in its caller's form.
func (s Secret) String() string { return Masked }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return Masked }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Masked) }

// MarshalText implements encoding.TextMarshaler, for JSON and YAML alike.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Masked), nil }
