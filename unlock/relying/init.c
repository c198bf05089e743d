/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/file.h"
#include "base/ini.h"
#include "base/openssl.h"
#include "base/text.h"
#include "relying/relying.h"
#include "verifier/challenge.h"
#include "verifier/verifier.h"

#define PEM_MAX 4096
#define ACCOUNTS_MAX 64
#define PAGE_TOKEN_BYTES 32
#define AUDIENCE_DEFAULT "measured-unlock"

static enum mu_status new_path(const char *folder, const char *name, char **ret,
                               struct mu_error *err)
{
    struct stat st;

    MU_TRY(string_print(ret, err, "%s/%s", folder, name));
    if (lstat(*ret, &st) == 0)
        return mu_fail(err, MU_CONFIG, "%s exists already, and is not changed", *ret);
    return MU_OK;
}

static enum mu_status write_challenge_key(const char *path, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};

    MU_TRY(secret_random(&key, CHALLENGE_KEY_SIZE, err));
    return file_write(path, secret_view(&key), 0600, err);
}

static enum mu_status write_signing_key(const char *path, struct mu_error *err)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = EVP_EC_gen("P-384");
    MU_CLEANUP(secret_free) struct secret pem = {0};
    MU_CLEANUP(bio_free) BIO *bio = BIO_new(BIO_s_secmem());
    int len;

    if (key == NULL || bio == NULL ||
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return mu_fail(err, MU_INTERNAL, "no signing key can be made");
    MU_TRY(secret_alloc(&pem, PEM_MAX, err));
    len = BIO_read(bio, pem.data, (int)pem.len);
    if (len <= 0)
        return mu_fail(err, MU_INTERNAL, "no signing key can be made");
    pem.len = (size_t)len;
    return file_write(path, secret_view(&pem), 0600, err);
}

static enum mu_status write_page_token(const char *path, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret random = {0};
    MU_CLEANUP(string_wipe) char *token = NULL;

    MU_TRY(secret_random(&random, PAGE_TOKEN_BYTES, err));
    MU_TRY(base64url_encode(secret_view(&random), &token, err));
    return file_write(path, text_view(token), 0600, err);
}

/* ---- a whole configuration ---- */

struct plan {
    const char *issuer, *listen, *certificate, *certificate_key, *store, *builder_key, *root, *page;
    const char *audience[SETTINGS_AUDIENCES_MAX], *baseline[SETTINGS_BASELINES_MAX / 2];
    const char *account[ACCOUNTS_MAX];
    size_t audiences, baselines, accounts;
};

static bool is_whole(const struct plan *plan)
{
    return plan->issuer != NULL;
}

static enum mu_status check_plan(const struct plan *plan, struct mu_error *err)
{
    bool any = plan->listen != NULL || plan->certificate != NULL || plan->certificate_key != NULL ||
               plan->store != NULL || plan->builder_key != NULL || plan->root != NULL ||
               plan->page != NULL || plan->audiences > 0 || plan->baselines > 0 ||
               plan->accounts > 0;

    if (!is_whole(plan))
        return any ? mu_fail(err, MU_USAGE, "--issuer is needed for a configuration") : MU_OK;
    if (plan->certificate == NULL || plan->certificate_key == NULL)
        return mu_fail(
            err, MU_USAGE,
            "--certificate and --certificate-key are needed: of TLS, in PEM; see 'Set-up' "
            "in the guide of the verifier for one that signs itself");
    if (plan->page != NULL && plan->store == NULL)
        return mu_fail(err, MU_USAGE, "--store is needed for --page: the page shows what is in it");
    if (plan->baselines == 0 && plan->builder_key == NULL)
        return mu_fail(err, MU_USAGE,
                       "--baseline NAME=FILE is needed, or --builder-key and --store for images "
                       "that 'mu-verifier image approve' takes");
    return MU_OK;
}

static enum mu_status put(FILE *to, const char *key, const char *value, struct mu_error *err)
{
    if (!text_is_printable(text_view(value)))
        return mu_fail(err, MU_USAGE, "%s: only printable characters are possible", key);
    (void)fprintf(to, "%s = %s\n", key, value);
    return MU_OK;
}

static enum mu_status put_path(FILE *to, const char *key, const char *path, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *whole = NULL;

    if (path == NULL)
        return MU_OK;
    whole = realpath(path, NULL);
    if (whole == NULL)
        return mu_fail(err, MU_CONFIG, "%s: %s", path, strerror(errno));
    return put(to, key, whole, err);
}

/* The state in which keys are released, and that of a system that runs. */
static enum mu_status put_baseline(FILE *to, const char *text, struct mu_error *err)
{
    const char *file = strchr(text, '=');
    MU_CLEANUP(string_free) char *name = NULL;

    if (file == NULL)
        return mu_fail(err, MU_USAGE, "--baseline %.80s: give NAME=FILE", text);
    MU_TRY(string_print(&name, err, "%.*s", (int)(file - text), text));
    if (!ini_is_name(name))
        return mu_fail(err, MU_USAGE, "--baseline %.80s: the name is letters, digits and _.-",
                       text);
    (void)fprintf(to, "[baseline %s]\n", name);
    MU_TRY(put_path(to, "file", file + 1, err));
    (void)fprintf(to, "state = boot\n[baseline %s-running]\n", name);
    MU_TRY(put_path(to, "file", file + 1, err));
    (void)fputs("state = running\n", to);
    return MU_OK;
}

static enum mu_status put_audience(FILE *to, const char *value, size_t number, struct mu_error *err)
{
    if (ini_is_name(value)) {
        (void)fprintf(to, "[audience %s]\n", value);
        return MU_OK;
    }
    (void)fprintf(to, "[audience audience%zu]\n", number + 1);
    return put(to, "value", value, err);
}

static enum mu_status put_all(FILE *to, const struct plan *plan, const char *keys,
                              const char *token, struct mu_error *err)
{
    (void)fprintf(to, "[verifier]\n");
    MU_TRY(put(to, "issuer", plan->issuer, err));
    if (plan->listen != NULL)
        MU_TRY(put(to, "listen", plan->listen, err));
    MU_TRY(put_path(to, "certificate", plan->certificate, err));
    MU_TRY(put_path(to, "certificate_key", plan->certificate_key, err));
    MU_TRY(put_path(to, "builder_key", plan->builder_key, err));
    MU_TRY(put_path(to, "root", plan->root, err));
    if (plan->store != NULL)
        MU_TRY(put(to, "store", plan->store, err));
    if (plan->accounts > 0)
        (void)fputs("identity = required\naccounts =", to);
    for (size_t i = 0; i < plan->accounts; i++)
        (void)fprintf(to, " %.64s%s", plan->account[i], i + 1 == plan->accounts ? "\n" : "");
    for (size_t i = 0; i < plan->audiences; i++)
        MU_TRY(put_audience(to, plan->audience[i], i, err));
    if (plan->audiences == 0)
        (void)fprintf(to, "[audience %s]\n", AUDIENCE_DEFAULT);
    for (size_t i = 0; i < plan->baselines; i++)
        MU_TRY(put_baseline(to, plan->baseline[i], err));
    if (token != NULL) {
        (void)fputs("[page]\n", to);
        MU_TRY(put(to, "listen", plan->page, err));
        MU_TRY(put(to, "token_file", token, err));
    }
    (void)fputs(keys, to);
    return MU_OK;
}

static enum mu_status write_configuration(const struct plan *plan, const char *path,
                                          const char *keys, const char *token, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;
    MU_CLEANUP(verifier_free) struct verifier *verifier = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    enum mu_status status;

    if (to == NULL)
        return mu_oom(err);
    status = put_all(to, plan, keys, token, err);
    if (fclose(to) != 0)
        return mu_oom(err);
    MU_TRY(status);
    MU_TRY(file_write(path, text_view(text), 0600, err));
    return verifier_load(path, &verifier, err);
}

static void say_next(const struct plan *plan, const char *path, const char *token)
{
    (void)printf("%s is complete and was checked%s.\n", path,
                 plan->audiences == 0 ? "; its tokens are for the audience '" AUDIENCE_DEFAULT "'"
                                      : "");
    (void)printf("Next: mu-verifier serve --config %s\n", path);
    if (plan->builder_key != NULL)
        (void)printf("Then: mu-verifier image approve MANIFEST --config %s --why TEXT\n", path);
    if (token != NULL)
        (void)printf("Look: https://%s, with any user and the password in %s\n", plan->page, token);
    if (plan->accounts == 0)
        (void)printf("Note: instances of every account are served; --account names yours\n");
}

/* ---- the verb ---- */

static const char help[] =
    "      --issuer URL           what tokens say in iss; writes a whole configuration\n"
    "      --certificate FILE     of TLS (PEM)\n"
    "      --certificate-key FILE its key (PEM)\n"
    "      --baseline NAME=FILE   an image's baseline; may be given again\n"
    "      --builder-key FILE     whose manifests of images count (PEM); needs a store\n"
    "      --store S              sqlite:PATH or postgresql:CONNINFO\n"
    "      --audience A           for whom tokens are; may be given again "
    "(default " AUDIENCE_DEFAULT ")\n"
    "      --account ID           whose instances are served; may be given again (default: all)\n"
    "      --listen ADDRESS:PORT  default 0.0.0.0:8443\n"
    "      --page ADDRESS:PORT    a page about the fleet there, for who has DIR/page.token\n"
    "      --root FILE            root of the documents' certificates (default: AWS's)\n"
    "\n"
    "Makes in DIR what a verifier needs of its own: challenge.key, 32 random bytes, which all\n"
    "verifiers of a fleet share, and signing.key, a P-384 key in PEM, for its tokens. Prints the\n"
    "sections of the configuration for them; or, with --issuer, writes DIR/verifier.conf, which "
    "is\n"
    "checked, and says what to do next. Existing files are not changed: exit code 4.\n"
    "\n"
    "Example: mu-verifier init /etc/measured-unlock/verifier --issuer https://verifier.example \\\n"
    "             --certificate tls.pem --certificate-key tls.key --baseline web=complete.json\n";

/* What was made here goes again if the whole cannot be used. */
static enum mu_status init_in(const char *folder, const struct plan *plan, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *challenge = NULL;
    MU_CLEANUP(string_free) char *signing = NULL;
    MU_CLEANUP(string_free) char *config = NULL;
    MU_CLEANUP(string_free) char *keys = NULL;
    MU_CLEANUP(string_free) char *token = NULL;
    enum mu_status status;

    MU_TRY(new_path(folder, "challenge.key", &challenge, err));
    MU_TRY(new_path(folder, "signing.key", &signing, err));
    if (is_whole(plan))
        MU_TRY(new_path(folder, "verifier.conf", &config, err));
    if (plan->page != NULL)
        MU_TRY(new_path(folder, "page.token", &token, err));
    MU_TRY(string_print(&keys, err,
                        "[challenge-key first]\nfile = %s\n[signing-key first]\nfile = %s\n",
                        challenge, signing));
    MU_TRY(write_challenge_key(challenge, err));
    MU_TRY(write_signing_key(signing, err));
    if (!is_whole(plan)) {
        (void)fputs(keys, stdout);
        return MU_OK;
    }
    if (token != NULL)
        MU_TRY(write_page_token(token, err));
    status = write_configuration(plan, config, keys, token, err);
    if (status == MU_OK) {
        say_next(plan, config, token);
        return MU_OK;
    }
    (void)unlink(config);
    if (token != NULL)
        (void)unlink(token);
    (void)unlink(signing);
    (void)unlink(challenge);
    return status;
}

static enum mu_status init_run(int argc, char **argv, struct mu_error *err)
{
    struct plan plan = {0};
    const struct cli_option options[] = {
        {"issuer", 0, .text = &plan.issuer},
        {"listen", 0, .text = &plan.listen},
        {"certificate", 0, .text = &plan.certificate},
        {"certificate-key", 0, .text = &plan.certificate_key},
        {"store", 0, .text = &plan.store},
        {"builder-key", 0, .text = &plan.builder_key},
        {"root", 0, .text = &plan.root},
        {"page", 0, .text = &plan.page},
        {"audience", 0, .text = plan.audience, .count = &plan.audiences,
         .max = SETTINGS_AUDIENCES_MAX},
        {"baseline", 0, .text = plan.baseline, .count = &plan.baselines,
         .max = SETTINGS_BASELINES_MAX / 2},
        {"account", 0, .text = plan.account, .count = &plan.accounts, .max = ACCOUNTS_MAX},
        {0},
    };
    MU_CLEANUP(string_free) char *folder = NULL;

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    MU_TRY(check_plan(&plan, err));
    if (mkdir(argv[optind], 0700) != 0 && errno != EEXIST)
        return mu_fail(err, MU_CONFIG, "%s: %s", argv[optind], strerror(errno));
    folder = realpath(argv[optind], NULL);
    if (folder == NULL)
        return mu_fail(err, MU_CONFIG, "%s: %s", argv[optind], strerror(errno));
    return init_in(folder, &plan, err);
}

const struct verb verb_init = {
    .name = "init",
    .synopsis = "DIR [--issuer URL --certificate FILE --certificate-key FILE [OPTION...]]",
    .summary = "make the keys of a verifier, and its configuration",
    .help = help,
    .run = init_run,
};
