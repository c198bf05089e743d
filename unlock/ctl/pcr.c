/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "base/defaults.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"

#define TPM_WAIT_S 2

enum mu_status ctl_pcr_list(const char *text, uint32_t *ret_mask, struct mu_error *err)
{
    const char *pos = text;
    uint32_t mask = 0;

    while (true) {
        char *end;
        unsigned long pcr = strtoul(pos, &end, 10);

        if (*pos < '0' || *pos > '9' || pcr >= PCR_COUNT)
            break;
        mask |= PCR_BIT(pcr);
        if (*end == '\0') {
            *ret_mask = mask;
            return MU_OK;
        }
        if (*end != ',' && *end != '+')
            break;
        pos = end + 1;
    }
    return mu_fail(err, MU_USAGE, "'%s' is not a list of PCRs such as 4,7,12 (0 to %d)", text,
                   PCR_COUNT - 1);
}

enum mu_status ctl_fence_pcr(const char *text, unsigned *ret, struct mu_error *err)
{
    uint32_t mask = 0;

    if (text == NULL)
        return MU_OK;
    MU_TRY(ctl_pcr_list(text, &mask, err));
    for (unsigned pcr = FENCE_FIRST; pcr <= FENCE_LAST; pcr++)
        if (mask == PCR_BIT(pcr)) {
            *ret = pcr;
            return MU_OK;
        }
    return mu_fail(err, MU_USAGE, "--fence-pcr '%.16s': one PCR from 8 to 15 can be the fence",
                   text);
}

struct options {
    enum hash_alg bank;
    const char *tcti;
    bool json;
    uint32_t mask;
};

static enum mu_status parse_options(int argc, char **argv, struct options *o, struct mu_error *err)
{
    const char *bank = NULL;
    const struct cli_option options[] = {
        {"bank", 'b', .text = &bank},
        {"json", 'j', .flag = &o->json},
        {"tcti", 't', .text = &o->tcti},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, INT_MAX, err));
    if (bank != NULL && (o->bank = hash_from_name(bank)) == HASH_NONE)
        return mu_fail(err, MU_USAGE, "--bank \"%s\": must be sha1, sha256, sha384 or sha512",
                       bank);
    for (int i = optind; i < argc; i++) {
        uint32_t mask;

        MU_TRY(ctl_pcr_list(argv[i], &mask, err));
        o->mask |= mask;
    }
    if (o->mask == 0)
        o->mask = PCR_BIT(PCR_COUNT) - 1;
    return MU_OK;
}

static enum mu_status print_json(const struct pcr_values *values, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    json_object *pcrs = json_object_new_object();

    if (!json_add_text(report, "bank", hash_name(values->bank)) ||
        !json_add(report, "pcrs", pcrs) || !baseline_add_values(pcrs, "", values))
        return mu_oom(err);
    return cli_print_json("-", report, err);
}

static enum mu_status print_text(const struct pcr_values *values, struct mu_error *err)
{
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        char hex[PCR_HEX_SIZE];

        pcr_hex(values, pcr, hex);
        if (hex[0] != '\0')
            (void)printf("PCR %u: %s\n", pcr, hex);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return mu_fail(err, MU_CONFIG, "standard output: cannot write");
    return MU_OK;
}

static enum mu_status pcr_run(int argc, char **argv, struct mu_error *err)
{
    struct options o = {.bank = HASH_SHA384, .tcti = getenv("MU_TCTI")};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    struct pcr_values values;

    MU_TRY(parse_options(argc, argv, &o, err));
    MU_TRY(tpm_open(o.tcti, deadline_in(TPM_WAIT_S), &tpm, err));
    MU_TRY(tpm_pcr_read(tpm, o.bank, o.mask, &values, err));
    return o.json ? print_json(&values, err) : print_text(&values, err);
}

const struct verb verb_pcr = {
    .name = "pcr",
    .synopsis = "[--bank sha384] [--json] [--tcti TCTI] [PCR...]",
    .summary = "read PCRs",
    .help = "  --bank BANK   sha1, sha256, sha384 (default) or sha512\n"
            "  --json        {\"bank\": ..., \"pcrs\": {\"0\": \"<hex>\", ...}}\n"
            "  --tcti TCTI   device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, then the\n"
            "                devices /dev/tpmrm0 and /dev/tpm0\n"
            "  PCR           numbers, also as a list; default: all\n"
            "\n"
            "Example: muctl pcr 4,7 12\n",
    .run = pcr_run,
};
