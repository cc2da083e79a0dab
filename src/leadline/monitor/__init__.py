"""The course of people over months, and whom to ask."""
