/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tss2/tss2_tcti_device.h>
#include <tss2/tss2_tcti_swtpm.h>

#include "tpm/internal.h"

#define STEP_MS 20u
/* The two devices of one TPM appear one after the other. */
#define MANAGER_GRACE_STEPS 10u
#define HEADER_SIZE 10u

static void free_tcti(TSS2_TCTI_CONTEXT **tcti)
{
    if (*tcti != NULL)
        Tss2_Tcti_Finalize(*tcti);
    free(*tcti);
    *tcti = NULL;
}

static enum mu_status make_tcti(TSS2_TCTI_INIT_FUNC init, const char *name, const char *conf,
                                TSS2_TCTI_CONTEXT **ret, struct mu_error *err)
{
    TSS2_TCTI_CONTEXT *tcti;
    size_t size = 0;
    TSS2_RC rc;

    MU_TRY(tpm_check(err, init(NULL, &size, NULL), name));
    tcti = calloc(1, size);
    if (tcti == NULL)
        return mu_oom(err);
    rc = init(tcti, &size, conf);
    if (rc != TSS2_RC_SUCCESS) {
        free(tcti);
        return tpm_fail(err, rc, name);
    }
    *ret = tcti;
    return MU_OK;
}

static enum mu_status connect_device(const char *path, TSS2_TCTI_CONTEXT **ret,
                                     struct mu_error *err)
{
    if (access(path, R_OK | W_OK) == 0)
        return make_tcti(Tss2_Tcti_Device_Init, path, path, ret, err);
    if (errno == EACCES || errno == EPERM)
        return mu_fail(err, MU_CONFIG, "%s: not allowed: run as root", path);
    return mu_fail(err, MU_RETRY, "%s: %s", path, strerror(errno));
}

static enum mu_status connect_tcti(const char *where, TSS2_TCTI_CONTEXT **ret, struct mu_error *err)
{
    if (strncmp(where, TPM_DEVICE, strlen(TPM_DEVICE)) == 0)
        return connect_device(where + strlen(TPM_DEVICE), ret, err);
    if (strncmp(where, TPM_SWTPM, strlen(TPM_SWTPM)) == 0)
        return make_tcti(Tss2_Tcti_Swtpm_Init, where, where + strlen(TPM_SWTPM), ret, err);
    return mu_fail(err, MU_CONFIG, "TPM \"%s\": must be device:PATH or swtpm:host=H,port=N", where);
}

static void detach(struct tpm *tpm)
{
    if (tpm->esys != NULL)
        Esys_Finalize(&tpm->esys);
    free_tcti(&tpm->tcti);
}

/* Until the deadline: another program may hold /dev/tpm0, or udev may still be at work. */
static enum mu_status attach(struct tpm *tpm, struct mu_error *err)
{
    enum mu_status status;
    TSS2_RC rc;

    do
        status = tpm->connect(tpm->where, &tpm->tcti, err);
    while (status == MU_RETRY && clock_pause_ms(STEP_MS, tpm->deadline));
    MU_TRY(status);
    rc = Esys_Initialize(&tpm->esys, tpm->tcti, NULL);
    if (rc == TSS2_RC_SUCCESS)
        return MU_OK;
    detach(tpm);
    return tpm_fail(err, rc, "start");
}

void tpm_close(struct tpm **tpm)
{
    if (*tpm == NULL)
        return;
    detach(*tpm);
    free((*tpm)->where);
    free(*tpm);
    *tpm = NULL;
}

enum mu_status tpm_open_with(tpm_connect *connect, const char *where, struct deadline deadline,
                             struct tpm **ret, struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = calloc(1, sizeof(*tpm));

    if (tpm == NULL || (tpm->where = strdup(where)) == NULL)
        return mu_oom(err);
    tpm->connect = connect;
    tpm->deadline = deadline;
    MU_TRY(attach(tpm, err));
    *ret = MU_TAKE(tpm);
    return MU_OK;
}

void tpm_reconnect(struct tpm *tpm)
{
    struct mu_error ignored = {0};

    tpm->lost = true;
    detach(tpm);
    (void)attach(tpm, &ignored);
}

enum mu_status tpm_go_direct(struct tpm *tpm, struct mu_error *err)
{
    char *managed = tpm->where;
    char *direct = strdup(TPM_DEVICE TPM_DIRECT_PATH);
    enum mu_status status;

    if (direct == NULL)
        return mu_oom(err);
    detach(tpm);
    tpm->where = direct;
    status = attach(tpm, err);
    if (status == MU_OK) {
        free(managed);
        tpm->managed_path = NULL;
        return MU_OK;
    }
    /* The fence must still be within reach. */
    free(direct);
    tpm->where = managed;
    tpm_reconnect(tpm);
    return status;
}

/* The resource manager, or the device itself if the kernel offers nothing else. */
static enum mu_status find_device(struct deadline deadline, const char **ret, struct mu_error *err)
{
    unsigned direct_only = 0;

    do {
        if (access(TPM_MANAGED_PATH, F_OK) == 0) {
            *ret = TPM_MANAGED_PATH;
            return MU_OK;
        }
        if (access(TPM_DIRECT_PATH, F_OK) == 0 && ++direct_only > MANAGER_GRACE_STEPS) {
            *ret = TPM_DIRECT_PATH;
            return MU_OK;
        }
    } while (clock_pause_ms(STEP_MS, deadline));
    return mu_fail(err, MU_CONFIG,
                   "no TPM: neither " TPM_MANAGED_PATH " nor " TPM_DIRECT_PATH
                   " appeared; on EC2 the image must be registered with NitroTPM and UEFI, and the "
                   "kernel needs tpm_crb");
}

enum mu_status tpm_open(const char *tcti, struct deadline deadline, struct tpm **ret,
                        struct mu_error *err)
{
    char where[64] = TPM_DEVICE;
    const char *path = NULL;

    if (tcti != NULL)
        return tpm_open_with(connect_tcti, tcti, deadline, ret, err);
    MU_TRY(find_device(deadline, &path, err));
    (void)strncat(where, path, sizeof(where) - sizeof(TPM_DEVICE));
    MU_TRY(tpm_open_with(connect_tcti, where, deadline, ret, err));
    if (strcmp(path, TPM_MANAGED_PATH) == 0)
        (*ret)->managed_path = TPM_MANAGED_PATH;
    return MU_OK;
}

enum mu_status tpm_get_capability(struct tpm *tpm, const struct tpm_capability *wanted,
                                  TPMI_YES_NO *ret_more, TPMS_CAPABILITY_DATA **ret,
                                  struct mu_error *err)
{
    return tpm_check(err,
                     TPM_CALL(tpm, Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE,
                                                      ESYS_TR_NONE, wanted->capability,
                                                      wanted->first, wanted->count, ret_more, ret)),
                     wanted->what);
}

void esys_free(void *pointer)
{
    void **memory = pointer;

    Esys_Free(*memory);
    *memory = NULL;
}

TSS2_RC tpm_nv_find(struct tpm *tpm, uint32_t index, ESYS_TR *ret)
{
    return TPM_CALL(tpm, Esys_TR_FromTPMPublic(tpm->esys, index, ESYS_TR_NONE, ESYS_TR_NONE,
                                               ESYS_TR_NONE, ret));
}

enum mu_status tpm_property(struct tpm *tpm, TPM2_PT property, uint32_t *ret, struct mu_error *err)
{
    const struct tpm_capability wanted = {TPM2_CAP_TPM_PROPERTIES, property, 1, "read a property"};
    MU_CLEANUP(esys_free) TPMS_CAPABILITY_DATA *data = NULL;
    const TPML_TAGGED_TPM_PROPERTY *list;

    MU_TRY(tpm_get_capability(tpm, &wanted, NULL, &data, err));
    list = &data->data.tpmProperties;
    *ret = list->count >= 1 && list->tpmProperty[0].property == property
               ? list->tpmProperty[0].value
               : 0;
    return MU_OK;
}

enum mu_status tpm_manufacturer(struct tpm *tpm, char ret[static 5], struct mu_error *err)
{
    uint32_t value = 0;

    MU_TRY(tpm_property(tpm, TPM2_PT_MANUFACTURER, &value, err));
    for (unsigned i = 0; i < 4; i++) {
        uint8_t c = (uint8_t)(value >> (24 - 8 * i));

        ret[i] = (char)(c >= 0x20 && c < 0x7f ? c : ' ');
    }
    ret[4] = '\0';
    return MU_OK;
}

static enum mu_status exchange(struct tpm *tpm, struct bytes command, const char *what,
                               struct tpm_response *ret, struct mu_error *err)
{
    uint8_t response[HEADER_SIZE + sizeof(ret->body)];
    size_t size = sizeof(response);
    struct reader r;
    TSS2_RC rc;

    if (tpm->tcti == NULL)
        return mu_fail(err, MU_RETRY, "TPM: %s: no connection", what);
    rc = Tss2_Tcti_Transmit(tpm->tcti, command.len, command.data);
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_Tcti_Receive(tpm->tcti, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    if (rc != TSS2_RC_SUCCESS) {
        tpm_reconnect(tpm);
        return tpm_fail(err, rc, what);
    }
    r = reader_of((struct bytes){response, size});
    (void)reader_be16(&r);
    if (reader_be32(&r) != size || size < HEADER_SIZE)
        return mu_fail(err, MU_REFUSE, "TPM: %s: malformed response of %zu bytes", what, size);
    ret->rc = reader_be32(&r);
    ret->len = reader_left(&r);
    reader_copy(&r, ret->body, ret->len);
    return MU_OK;
}

enum mu_status tpm_transceive(struct tpm *tpm, struct bytes command, const char *what,
                              struct tpm_response *ret, struct mu_error *err)
{
    struct retry retry = tpm_retry(tpm);

    do
        MU_TRY(exchange(tpm, command, what, ret, err));
    while (tpm_again(tpm, ret->rc, &retry));
    return MU_OK;
}
