# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of imgmount: images, servers, clients, rows, rounds, report."""
