/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/aws_kms.h"

#include <stdlib.h>

#include <openssl/rsa.h>

#include "base/trace.h"

#define RSA_BITS 2048

static enum mu_status generate_key(EVP_PKEY **ret, struct mu_error *err)
{
    *ret = EVP_RSA_gen(RSA_BITS);
    return *ret != NULL ? MU_OK : mu_fail(err, MU_INTERNAL, "cannot make an RSA key");
}

static void *make_key(void *argument)
{
    struct provider_session *session = argument;
    struct task *task = &session->make_key;

    task->status = MU_STEP("rsa-key", generate_key(&session->key, &task->error));
    return NULL;
}

static void *get_credentials(void *argument)
{
    struct provider_session *session = argument;
    struct task *task = &session->get_credentials;

    task->status = MU_STEP("instance-credentials",
                           aws_credentials_from_imds(session->options.aws.imds, session->deadline,
                                                     &session->credentials, &task->error));
    return NULL;
}

void aws_kms_finish(struct provider_session **session)
{
    struct provider_session *s = *session;
    struct mu_error ignored;

    if (s == NULL)
        return;
    atomic_store(&s->stop, true);
    (void)task_wait(&s->make_key, &ignored);
    (void)task_wait(&s->get_credentials, &ignored);
    for (size_t i = 0; i < s->links; i++) {
        (void)task_wait(&s->link[i].connect, &ignored);
        kms_close(&s->link[i].kms);
    }
    for (size_t i = 0; i < s->volumes; i++)
        json_free(&s->volume[i].json);
    EVP_PKEY_free(s->key);
    aws_credentials_free(&s->credentials);
    buffer_free(&s->document);
    free(s);
    *session = NULL;
}

enum mu_status aws_kms_start(const struct provider_options *options, struct deadline deadline,
                             struct provider_session **ret, struct mu_error *err)
{
    MU_CLEANUP(aws_kms_finish) struct provider_session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return mu_oom(err);
    session->options = *options;
    session->deadline = deadline;
    session->deadline.part = &session->stop;
    MU_TRY(task_start(&session->make_key, make_key, session, err));
    MU_TRY(task_start(&session->get_credentials, get_credentials, session, err));
    *ret = MU_TAKE(session);
    return MU_OK;
}

static void *connect_kms(void *argument)
{
    struct link *link = argument;
    struct mu_error ignored;

    (void)MU_STEP("kms-connect", kms_connect(link->kms, link->patience, &ignored));
    return NULL;
}

enum mu_status aws_kms_connect(struct link *link, const struct kms_patience *patience,
                               struct mu_error *err)
{
    link->patience = patience;
    return task_start(&link->connect, connect_kms, link, err);
}
