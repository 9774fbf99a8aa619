package engine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func secrets(values ...string) []Secret {
	var s []Secret
	for _, v := range values {
		s = append(s, NewSecret(v))
	}
	return s
}

// TestStreamKeepsBothEnds shows what is kept of a stream of any length.
func TestStreamKeepsBothEnds(t *testing.T) {
	const half = MaxOutput / 2
	for _, size := range []int{0, 1, half - 1, half, half + 1, MaxOutput, MaxOutput + 1, 3*MaxOutput + 7} {
		for _, piece := range []int{1 << 20, 4096, 1000} {
			t.Run(fmt.Sprintf("%d bytes by %d", size, piece), func(t *testing.T) {
				all := make([]byte, size)
				for i := range all {
					all[i] = byte('a' + i%23)
				}
				s := &stream{name: Stdout}
				for rest := all; len(rest) > 0; {
					n := min(piece, len(rest))
					s.Write(rest[:n])
					rest = rest[n:]
				}
				s.finish()
				got := s.text()
				if size <= MaxOutput {
					if whole := append(bytes.Clone(got.Head), got.Tail...); got.Cut != 0 || !bytes.Equal(whole, all) {
						t.Errorf("kept %d bytes and cut %d, want all %d", len(whole), got.Cut, size)
					}
					return
				}
				if !bytes.Equal(got.Head, all[:half]) || !bytes.Equal(got.Tail, all[size-half:]) || got.Cut != int64(size-MaxOutput) {
					t.Errorf("kept %d+%d bytes and cut %d, want the first and last %d", len(got.Head), len(got.Tail), got.Cut, half)
				}
			})
		}
	}
}

// TestChunksRebuildTheStream shows that the pieces told to the store, whenever
// they are asked for, put together the text.
func TestChunksRebuildTheStream(t *testing.T) {
	s := &stream{name: Stderr}
	kept := map[int64]byte{}
	for i := range 300 {
		s.Write(bytes.Repeat([]byte{byte('a' + i%26)}, 1+i*7))
		if i%3 != 0 {
			continue
		}
		for _, c := range s.fresh(Chunk{Run: "r", Attempt: 2, Index: 1}) {
			if c.Stream != Stderr || c.Run != "r" || c.Attempt != 2 || c.Index != 1 {
				t.Fatalf("chunk %+v does not name its step", c)
			}
			for j, b := range c.Data {
				kept[c.Offset+int64(j)] = b
			}
		}
	}
	s.finish()
	for _, c := range s.fresh(Chunk{}) {
		for j, b := range c.Data {
			kept[c.Offset+int64(j)] = b
		}
	}
	got := s.text()
	for i, b := range got.Head {
		if kept[int64(i)] != b {
			t.Fatalf("byte %d is %q in the store, want %q", i, kept[int64(i)], b)
		}
	}
	start := int64(len(got.Head)) + got.Cut
	for i, b := range got.Tail {
		if kept[start+int64(i)] != b {
			t.Fatalf("byte %d is %q in the store, want %q", start+int64(i), kept[start+int64(i)], b)
		}
	}
}

// TestSecretsAreMaskedInOutput shows it wherever the writes cut the secret.
func TestSecretsAreMaskedInOutput(t *testing.T) {
	mask := newMasker(secrets("hunter2hunter2", "hunter2", "ab", " spaced\n"))
	text := "x hunter2hunter2 y hunter2, hunterhunter2 hunte spaced ab"
	want := "x *** y ***, hunter*** hunte *** ab"
	for size := 1; size <= len(text); size++ {
		s := &stream{name: Stdout, mask: mask}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			s.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		s.finish()
		if got := s.text().String(); got != want {
			t.Fatalf("in pieces of %d: %q, want %q", size, got, want)
		}
	}
}

func TestFormsOfASecretAreMasked(t *testing.T) {
	mask := newMasker(secrets("-----BEGIN KEY-----\nMIIEvQIBADAN9g0a\n-----END KEY-----\nNODE_ENV=production\nTOKEN=hunter22hunter\n  \"type\": \"service_account\",\nkind: Config\n", "p+w/d &x\"1", "pä/😀sswort"))
	for _, text := range []string{"apiVersion: v1", "kind: ConfigMap", `"type": "service_account"`, "NODE_ENV=production"} {
		if got := mask.string(text); got != text {
			t.Errorf("%q is kept as %q: it is nothing secret", text, got)
		}
	}
	for _, text := range []string{"MIIEvQIBADAN9g0a", "hunter22hunter", "p%2Bw%2Fd+%26x%221", `p+w/d &x\"1`, "cCt3L2QgJngiMQ==",
		"p%2bw%2fd+%26x%221", "p+w%2fd%20&x%221", `p+w\/d \u0026x\"1`, `p\u00e4/\ud83d\ude00sswort`, `p\u00E4\/\uD83D\uDE00sswort`,
	} {
		if got := mask.string("a " + text + " b"); !strings.Contains(got, Masked) || strings.Contains(got, text) {
			t.Errorf("%q is kept as %q, want it masked", text, got)
		}
	}
}

func TestTextSaysWhatWasCut(t *testing.T) {
	got := Text{Head: []byte("head"), Cut: 12, Tail: []byte("tail")}.String()
	if want := "head\n… 12 bytes cut …\ntail"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	s := NewSecret("hunter2")
	js, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(s, &s, []Secret{s}, s.LogValue(), string(js)) + fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s)
	if strings.Contains(all, "hunter2") || strings.Contains(all, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("a secret prints as %s", all)
	}
}
