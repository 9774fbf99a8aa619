package control

import (
	"cmp"
	"context"

	"hookrun/engine"
)

// Rejections implements History.
func (l *Local) Rejections(ctx context.Context, q RejectionQuery) (RejectionList, error) {
	if q.Limit < 0 || q.Limit > engine.MaxRejections {
		return RejectionList{}, badRequest("", "the limit is %d, which is not between 1 and %d", q.Limit, engine.MaxRejections)
	}
	found, err := l.Store.Rejections(ctx, engine.RejectionFilter{Bucket: q.Bucket, Since: q.Since, Limit: cmp.Or(q.Limit, engine.DefaultEventLimit)})
	return RejectionList{Rejections: append([]engine.Rejection{}, found...)}, err
}
