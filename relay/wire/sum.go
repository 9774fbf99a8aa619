package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Sum is a checksum of a webhook, for meta.sum: CRC-32C (Castagnoli, RFC 3720,
// B.4) in 8 lower-case hex digits. It is made of these, each text behind its
// length in bytes as a uvarint: id, bucket_id, bucket_name, input_id,
// input_name, output_name, output_destination, path, received_at in decimal,
// method, query; then, in the order of their names, each header's name, the
// number of its values as a uvarint, and its values; then the body's bytes, with
// no length. Texts count as they get there: each byte that is no UTF-8 is
// U+FFFD.
//
// It tells of damage, not of somebody's will.
func Sum(w *Webhook) string {
	var head []byte
	for _, s := range []string{w.ID, w.BucketID, w.BucketName, w.InputID, w.InputName, w.OutputName, w.OutputDestination, w.Path,
		strconv.FormatInt(w.ReceivedAt, 10), w.Method, w.Query} {
		head = appendText(head, s)
	}
	for _, name := range slices.Sorted(maps.Keys(w.Header)) {
		head = appendText(head, name)
		head = binary.AppendUvarint(head, uint64(len(w.Header[name])))
		for _, v := range w.Header[name] {
			head = appendText(head, v)
		}
	}
	table := crc32.MakeTable(crc32.Castagnoli) // made once, by crc32
	return fmt.Sprintf("%08x", crc32.Update(crc32.Checksum(head, table), table, w.Body))
}

func appendText(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}
