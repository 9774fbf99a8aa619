package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"hookrun/relay/account"

	"github.com/google/uuid"
)

// forgetTimeout bounds how long the deliveries of a deleted bucket are deleted
// for; those that are left go when they are too old.
const forgetTimeout = 20 * time.Second

// bucketBody is what can be set of a bucket. What is absent is cleared, but for
// the name, and for what is this relay's own and other clients don't know.
// Inputs and outputs are not read: they have addresses of their own, and an old
// copy of a bucket that is sent back must not bring old ones with it.
type bucketBody struct {
	Name          *string  `json:"name"`
	Description   string   `json:"description"`
	Stream        *bool    `json:"stream"`
	Ephemeral     bool     `json:"ephemeral"`
	Suspended     bool     `json:"suspended"`
	StaticIP      bool     `json:"static_ip"`
	LargeWebhooks bool     `json:"large_webhooks"`
	Hasty         *bool    `json:"hasty"`
	Auth          authBody `json:"auth"`
}

type authBody struct {
	Type     authType `json:"type"`
	Username string   `json:"username"`
	Password string   `json:"password"`
	Token    string   `json:"token"`
}

// apply sets what the body has. b.Stream is what an absent stream means.
func (body *bucketBody) apply(b *account.Bucket) {
	b.Name = or(body.Name, b.Name)
	b.Description = body.Description
	b.Stream = or(body.Stream, b.Stream)
	b.Ephemeral = body.Ephemeral
	b.Suspended = body.Suspended
	b.StaticIP = body.StaticIP
	b.LargeWebhooks = body.LargeWebhooks
	b.Hasty = or(body.Hasty, b.Hasty)
	b.Auth = account.Auth{
		ID:       b.Auth.ID,
		Type:     string(body.Auth.Type),
		Username: body.Auth.Username,
		Password: body.Auth.Password,
		Token:    body.Auth.Token,
	}
	if b.Auth.Type == "" {
		b.Auth.Type = account.AuthNone
	}
	b.UpdatedAt = account.At(time.Now())
}

// or is what p points to, or what stands in for nil.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// bucketView is a bucket as it is shown.
type bucketView struct {
	account.Bucket
	Inputs  []inputView      `json:"inputs"`
	Outputs []account.Output `json:"outputs"`
}

func (s *Server) bucketView(q *request, b *account.Bucket) bucketView {
	v := bucketView{Bucket: *b, Inputs: []inputView{}, Outputs: []account.Output{}}
	if v.Auth.Type == "" {
		v.Auth.Type = account.AuthNone
	}
	v.ServiceConnectionInputs, v.ServiceConnectionOutputs = []struct{}{}, []struct{}{}
	for i := range b.Inputs {
		v.Inputs = append(v.Inputs, s.inputView(q, &b.Inputs[i]))
	}
	v.Outputs = append(v.Outputs, b.Outputs...)
	return v
}

func (s *Server) listBuckets(q *request) (any, error) {
	all := []bucketView{}
	a := s.book.Now()
	for i := range a.Buckets {
		if b := &a.Buckets[i]; q.token.Sees(b) {
			all = append(all, s.bucketView(q, b))
		}
	}
	return all, nil
}

func (s *Server) showBucket(q *request) (any, error) {
	b, err := q.bucket(s.book.Now(), q.args[0])
	if err != nil {
		return nil, err
	}
	return s.bucketView(q, b), nil
}

// editTimeout bounds how long a change waits to be on disk.
const editTimeout = 30 * time.Second

// edit changes the account. fn gets a copy of its own; what it returns is shown
// once that is saved. Who hangs up does not stop it half-way.
func (s *Server) edit(q *request, fn func(*account.Account) (any, error)) (shown any, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.Context()), editTimeout)
	defer cancel()
	err = s.book.Edit(ctx, func(a *account.Account) (err error) {
		shown, err = fn(a)
		return err
	})
	return shown, err
}

// editBucket changes a bucket, which the token has to see afterwards too.
func (s *Server) editBucket(q *request, fn func(*account.Bucket) (any, error)) (any, error) {
	return s.edit(q, func(a *account.Account) (any, error) {
		b, err := q.bucket(a, q.args[0])
		if err != nil {
			return nil, err
		}
		shown, err := fn(b)
		if err == nil && !q.token.Sees(b) {
			err = outOfScope(b.Name)
		}
		return shown, err
	})
}

func outOfScope(name string) error {
	return refuse(http.StatusForbidden, "this token may not have a bucket named '%s'", name)
}

func (s *Server) createBucket(q *request) (any, error) {
	var body bucketBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	return s.edit(q, func(a *account.Account) (any, error) {
		b := account.Bucket{ID: uuid.NewString(), AccountID: a.ID, Stream: true, Auth: account.Auth{ID: uuid.NewString()}}
		body.apply(&b)
		b.CreatedAt = b.UpdatedAt
		if !q.mayName(b.Name) {
			return nil, outOfScope(b.Name)
		}
		b.Inputs = []account.Input{{
			ID:        uuid.NewString(),
			CreatedAt: b.CreatedAt,
			UpdatedAt: b.CreatedAt,
			Name:      account.DefaultInput,
			BucketID:  b.ID,
			CreatedBy: q.token.ID,
		}}
		a.Buckets = append(a.Buckets, b)
		return s.bucketView(q, &b), nil
	})
}

func (s *Server) updateBucket(q *request) (any, error) {
	var body bucketBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		was := b.Name
		b.Stream = false
		body.apply(b)
		if b.Name != was && !q.mayName(b.Name) {
			return nil, outOfScope(b.Name)
		}
		return s.bucketView(q, b), nil
	})
}

// mayName reports whether the token may give a bucket a name: one that is bound to
// some buckets only one that it is bound to, whether there is such a bucket or
// not. So it learns nothing of those that it does not see.
func (q *request) mayName(name string) bool {
	return !isScoped(q.token) || slices.Contains(q.token.Scopes.Buckets, name)
}

// deleted is the answer where something was deleted.
type deleted struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

func gone(id string) deleted { return deleted{id, "deleted"} }

func (s *Server) deleteBucket(q *request) (any, error) {
	force, err := q.flag("force")
	if err != nil {
		return nil, err
	}
	var id string
	shown, err := s.edit(q, func(a *account.Account) (any, error) {
		b, err := q.bucket(a, q.args[0])
		if err != nil {
			return nil, err
		}
		if !force && len(b.Inputs)+len(b.Outputs) > 0 {
			return nil, refuse(http.StatusPreconditionFailed,
				"bucket '%s' has inputs or outputs: delete them first, or ask with force=true", b.Name)
		}
		id = b.ID
		a.Buckets = slices.DeleteFunc(a.Buckets, func(b account.Bucket) bool { return b.ID == id })
		return gone(id), nil
	})
	if err == nil {
		s.forget(q, id)
	}
	return shown, err
}

// forget deletes the deliveries of a bucket that is gone, also where nobody waits
// for it any more.
func (s *Server) forget(q *request, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.Context()), forgetTimeout)
	defer cancel()
	if err := s.logs.ForgetBucket(ctx, id); err != nil {
		s.log.Warn("the deliveries of a deleted bucket are kept until they are too old", "request", q.id, "bucket", id, "err", err)
	}
}

// flag reads a parameter of the query that is true or false.
func (q *request) flag(name string) (bool, error) {
	given := q.URL.Query().Get(name)
	if given == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(given)
	if err != nil {
		return false, refuse(http.StatusBadRequest, "%s: want true or false", name)
	}
	return on, nil
}
