/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/patience.h"

#include <stdlib.h>
#include <sys/socket.h>

void patience_init(struct patience *patience)
{
    patience->first = NULL;
    (void)pthread_mutex_init(&patience->lock, NULL);
}

struct patient *patience_begin(struct patience *patience, int fd, uint64_t deadline_us)
{
    struct patient *patient = malloc(sizeof(*patient));

    if (patient == NULL)
        return NULL;
    (void)pthread_mutex_lock(&patience->lock);
    *patient = (struct patient){fd, deadline_us, patience->first, &patience->first};
    if (patient->next != NULL)
        patient->next->link = &patient->next;
    patience->first = patient;
    (void)pthread_mutex_unlock(&patience->lock);
    return patient;
}

void patience_extend(struct patience *patience, struct patient *patient, uint64_t deadline_us)
{
    (void)pthread_mutex_lock(&patience->lock);
    patient->deadline_us = deadline_us;
    (void)pthread_mutex_unlock(&patience->lock);
}

void patience_end(struct patience *patience, struct patient *patient)
{
    (void)pthread_mutex_lock(&patience->lock);
    *patient->link = patient->next;
    if (patient->next != NULL)
        patient->next->link = patient->link;
    (void)pthread_mutex_unlock(&patience->lock);
    free(patient);
}

unsigned patience_enforce(struct patience *patience, uint64_t now_us)
{
    unsigned count = 0;

    (void)pthread_mutex_lock(&patience->lock);
    for (struct patient *p = patience->first; p != NULL; p = p->next) {
        if (now_us <= p->deadline_us)
            continue;
        (void)shutdown(p->fd, SHUT_RDWR);
        p->deadline_us = UINT64_MAX;
        count++;
    }
    (void)pthread_mutex_unlock(&patience->lock);
    return count;
}
