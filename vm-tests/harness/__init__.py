# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole machine for tests: guest, disk, firmware, TPM, network, AWS."""
